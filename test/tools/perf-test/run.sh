#!/usr/bin/env bash
# Runs RabbitMQ PerfTest, the AMQP 0-9-1 load tool, on its jars.
set -euo pipefail
home=$(cd "$(dirname "$0")/../perf-test" && pwd)
# shellcheck disable=SC2086 # PERF_TEST_OPTS is a list of flags
exec java -XX:+UseSerialGC ${PERF_TEST_OPTS:-} -cp "$home/libs/*" com.rabbitmq.perf.PerfTest "$@"
