#!/usr/bin/env bash
# Runs RabbitMQ's PerfTest on its jars, with Java's own defaults as its own script has them.
set -euo pipefail
home=$(cd "$(dirname "$0")/../perftest" && pwd)
exec java -cp "$home/libs/*" com.rabbitmq.perf.PerfTest "$@"
