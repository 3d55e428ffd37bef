#!/usr/bin/env bash
# Runs one of Kafka's own command-line classes on its jars. Installed under the names that
# Kafka's tarball uses (kafka-console-consumer.sh, ...); the name it is called by picks the class.
# KAFKA_OPTS adds JVM flags, KAFKA_LOG_LEVEL (warn) sets the log level.
set -euo pipefail
name=$(basename "$0" .sh)
home=$(cd "$(dirname "$0")/../kafka" && pwd)
case "$name" in
  kafka-console-consumer)    class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
  kafka-console-producer)    class=org.apache.kafka.tools.ConsoleProducer ;;
  kafka-topics)              class=org.apache.kafka.tools.TopicCommand ;;
  kafka-consumer-groups)     class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
  kafka-configs)             class=kafka.admin.ConfigCommand ;;
  kafka-acls)                class=org.apache.kafka.tools.AclCommand ;;
  kafka-producer-perf-test)  class=org.apache.kafka.tools.ProducerPerformance ;;
  kafka-consumer-perf-test)  class=org.apache.kafka.tools.ConsumerPerformance ;;
  kafka-get-offsets)         class=org.apache.kafka.tools.GetOffsetShell ;;
  kafka-delete-records)      class=org.apache.kafka.tools.DeleteRecordsCommand ;;
  kafka-broker-api-versions) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
  kafka-storage)             class=kafka.tools.StorageTool ;;
  kafka-server-start)        class=kafka.Kafka ;;
  *) echo "$0: no Kafka class is known by this name" >&2; exit 64 ;;
esac
# A short-lived tool: cheap compiler, cheap collector, class data sharing where there is an archive.
# shellcheck disable=SC2086 # KAFKA_OPTS is a list of flags
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" \
  -Dorg.slf4j.simpleLogger.logFile=System.err \
  ${KAFKA_OPTS:-} -cp "$home/libs/*" "$class" "$@"
