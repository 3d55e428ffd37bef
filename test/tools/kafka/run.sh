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
case "$name" in
  # Servers and load generators: the flags of Kafka's own scripts (kafka-run-class.sh and the
  # heap that kafka-server-start.sh gives), so that measurements are of Kafka as it is shipped.
  kafka-server-start) jvm="-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent" ;;
  *-perf-test) jvm="-Xmx512M -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent" ;;
  # A short-lived tool: cheap compiler, cheap collector, class data sharing where there is an archive.
  *) jvm="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto" ;;
esac
# shellcheck disable=SC2086 # lists of flags
exec java $jvm \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" \
  -Dorg.slf4j.simpleLogger.logFile=System.err \
  ${KAFKA_OPTS:-} -cp "$home/libs/*" "$class" "$@"
