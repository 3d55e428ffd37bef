#!/usr/bin/env bash
# Installs the tools that tests, demos and benchmarks use, each at the version pinned in versions.env.
#
#   install.sh                 the set that `make test` needs
#   install.sh all             everything below
#   install.sh minio nats ...  just these
#   install.sh --list          the names
#
# Everything lands in ${ROBUSTMQ_TOOLS:-<repo>/.tools} (bin/, kafka/, perftest/, node/, npm/, venv/), except Debian's
# packages. A tool already present at its pinned version costs nothing. Safe to run concurrently:
# each tool has its own lock. Anything that cannot be had is an error that says which and why.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
tools=${ROBUSTMQ_TOOLS:-$repo/.tools}
# shellcheck source=versions.env
source "$here/versions.env"

# Two lanes: what is compiled here, one after the other, and what is only fetched, beside it.
build_tools=(nats golangci-lint etcd minio versitygw gofumpt benchstat nats-server)
fetch_tools=(debian mqttjs nodeclients python kafka celery mosquitto rabbitmq perftest)
test_set=(nats golangci-lint etcd minio versitygw debian mqttjs nodeclients python kafka celery)

mkdir -p "$tools/bin" "$tools/stamp" "$tools/lock" "$tools/log"
tools=$(cd "$tools" && pwd)

say() { printf 'tools: %s\n' "$*" >&2; }
die() { printf 'tools: ERROR: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$2 needs '$1' on the PATH: $3"; }

# go_tool NAME PACKAGE@VERSION: go install into bin/.
go_tool() {
  need go "$1" "install Go first"
  GOBIN="$tools/bin" GOFLAGS="-mod=mod -buildvcs=false" GOTOOLCHAIN=local CGO_ENABLED=0 \
    bash -c 'cd / && exec go install -trimpath -ldflags="-s -w" "$1"' _ "$2"
}

version_of() {
  case "$1" in
    minio) echo "$MINIO_VERSION" ;;
    versitygw) echo "$VERSITYGW_VERSION" ;;
    nats) echo "$NATS_CLI_VERSION" ;;
    nats-server) echo "$NATS_SERVER_VERSION" ;;
    golangci-lint) echo "$GOLANGCI_VERSION" ;;
    gofumpt) echo "$GOFUMPT_VERSION" ;;
    benchstat) echo "$BENCHSTAT_VERSION" ;;
    etcd) awk '$1 == "go.etcd.io/etcd/server/v3" { print $2; exit }' "$repo/go.mod" ;;
    debian | mosquitto | rabbitmq) echo bookworm ;;
    mqttjs) echo "$MQTTJS_VERSION" ;;
    nodeclients) echo "kafkajs-$KAFKAJS_VERSION-amqplib-$AMQPLIB_VERSION-nats-$NATS_NODE_VERSION" ;;
    python) echo "pika-$PIKA_VERSION-paho-$PAHO_MQTT_VERSION-ck-$CONFLUENT_KAFKA_VERSION-nats-$NATS_PY_VERSION" ;;
    celery) echo "$CELERY_VERSION" ;;
    kafka) echo "$KAFKA_VERSION-$SLF4J_VERSION" ;;
    perftest) echo "$PERFTEST_VERSION" ;;
    *) die "no tool is called '$1'; try: $0 --list" ;;
  esac
}

# present NAME: is what the stamp promises still there?
present() {
  case "$1" in
    debian) command -v mosquitto_sub && command -v kcat ;;
    mosquitto) command -v mosquitto ;;
    rabbitmq) command -v epmd && test -x /usr/lib/rabbitmq/bin/rabbitmq-server ;;
    mqttjs) test -x "$tools/bin/mqtt" && test -d "$tools/npm/node_modules/mqtt" ;;
    nodeclients) test -d "$tools/node/node_modules/kafkajs" && test -d "$tools/node/node_modules/amqplib" && test -d "$tools/node/node_modules/@nats-io/transport-node" ;;
    python) "$tools/venv/bin/python3" -c 'import pika, paho.mqtt, confluent_kafka, nats' ;;
    celery) "$tools/venv/bin/python3" -c 'import celery' ;;
    kafka) cmp -s "$here/kafka/run.sh" "$tools/bin/kafka-server-start.sh" && compgen -G "$tools/kafka/libs/kafka-tools-*.jar" ;;
    perftest) cmp -s "$here/perftest/run.sh" "$tools/bin/perf-test.sh" && compgen -G "$tools/perftest/libs/perf-test-*.jar" ;;
    *) test -x "$tools/bin/$1" ;;
  esac >/dev/null 2>&1
}

install_minio() { go_tool minio "github.com/minio/minio@$MINIO_VERSION"; }
install_versitygw() { go_tool versitygw "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION"; }
install_nats() { go_tool nats "github.com/nats-io/natscli/nats@$NATS_CLI_VERSION"; }
install_nats-server() { go_tool nats-server "github.com/nats-io/nats-server/v2@$NATS_SERVER_VERSION"; }
install_golangci-lint() { go_tool golangci-lint "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_VERSION"; }
install_gofumpt() { go_tool gofumpt "mvdan.cc/gofumpt@$GOFUMPT_VERSION"; }
install_benchstat() { go_tool benchstat "golang.org/x/perf/cmd/benchstat@$BENCHSTAT_VERSION"; }

# etcd's own module cannot be `go install`ed (replace directives), but its main package builds inside
# any module that requires it: ours does, so this is the version that is embedded too.
install_etcd() {
  need go etcd "install Go first"
  (cd "$repo" && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -buildvcs=false -ldflags="-s -w" \
    -o "$tools/bin/etcd" go.etcd.io/etcd/server/v3)
}

# apt_packages PACKAGE...: from the system's own package sources.
apt_packages() {
  command -v apt-get >/dev/null 2>&1 || die "no apt-get here: install these by hand: $*"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then as_root=(sudo -n); else
      die "not root and no password-less sudo: run: sudo apt-get install -y $*"
    fi
  fi
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

install_debian() { apt_packages mosquitto-clients kcat; }
# Servers to be measured: the packages also start them as services where there is a service manager;
# the benchmark runs its own on other ports.
install_mosquitto() { apt_packages mosquitto; }
install_rabbitmq() { apt_packages rabbitmq-server; }

install_mqttjs() {
  need npm mqttjs "install Node.js 20 or newer with npm"
  mkdir -p "$tools/npm"
  npm install --prefix "$tools/npm" --no-audit --no-fund --no-save --loglevel=error "mqtt@$MQTTJS_VERSION"
  ln -sf ../npm/node_modules/.bin/mqtt "$tools/bin/mqtt"
}

# In a folder of their own: an install without package.json removes what it does not name.
install_nodeclients() {
  need npm nodeclients "install Node.js 20 or newer with npm"
  mkdir -p "$tools/node"
  npm install --prefix "$tools/node" --no-audit --no-fund --no-save --loglevel=error \
    "kafkajs@$KAFKAJS_VERSION" "amqplib@$AMQPLIB_VERSION" "@nats-io/transport-node@$NATS_NODE_VERSION"
}

pip_install() {
  need python3 "$1" "install Python 3.10 or newer with venv"
  # Two tools share the environment: one at a time.
  exec 8>"$tools/lock/venv"
  flock 8
  if [ ! -x "$tools/venv/bin/pip" ]; then
    python3 -m venv "$tools/venv" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
  fi
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}
install_python() {
  pip_install python "pika==$PIKA_VERSION" "paho-mqtt==$PAHO_MQTT_VERSION" \
    "confluent-kafka==$CONFLUENT_KAFKA_VERSION" "nats-py==$NATS_PY_VERSION"
}
install_celery() { pip_install celery "celery==$CELERY_VERSION"; }

# maven NAME POM LIBS -Dproperty...: copies the jars that POM depends on into LIBS.
maven() {
  need mvn "$1" "install Maven 3.8 or newer"
  need java "$1" "install a Java 17 or newer runtime"
  rm -rf "$3.new"
  mvn -q -B -f "$2" -DoutputDirectory="$3.new" -DincludeScope=runtime "${@:4}" dependency:copy-dependencies
  rm -rf "$3" && mv "$3.new" "$3"
}

install_kafka() {
  mkdir -p "$tools/kafka"
  maven kafka "$here/kafka/pom.xml" "$tools/kafka/libs" \
    "-Dkafka.version=$KAFKA_VERSION" "-Dslf4j.version=$SLF4J_VERSION"
  local name
  for name in console-consumer console-producer topics consumer-groups configs acls producer-perf-test \
    consumer-perf-test get-offsets delete-records broker-api-versions storage server-start; do
    install -m 755 "$here/kafka/run.sh" "$tools/bin/kafka-$name.sh"
  done
}

install_perftest() {
  mkdir -p "$tools/perftest"
  maven perftest "$here/perftest/pom.xml" "$tools/perftest/libs" "-Dperftest.version=$PERFTEST_VERSION"
  install -m 755 "$here/perftest/run.sh" "$tools/bin/perf-test.sh"
}

# ensure NAME: install unless the stamp says that this version is there.
ensure() {
  local name=$1 version stamp started log
  version=$(version_of "$name")
  [ -n "$version" ] || die "no version is pinned for $name"
  stamp="$tools/stamp/$name"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && present "$name"; then return 0; fi
  exec 9>"$tools/lock/$name"
  flock 9
  if [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && present "$name"; then return 0; fi
  started=$SECONDS
  log="$tools/log/$name.log"
  say "installing $name $version"
  # A process of its own: inside a condition, bash would ignore a failing step.
  if ! "$here/install.sh" --install-now "$name" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    die "$name $version could not be installed; the whole log: $log"
  fi
  present "$name" || { tail -n 25 "$log" >&2; die "$name was installed, but is not usable: $log"; }
  echo "$version" >"$stamp"
  say "installed $name in $((SECONDS - started)) s"
}

# lane NAME...: one after the other; the first failure ends it.
lane() {
  local name
  for name in "$@"; do (ensure "$name") || return 1; done
}

main() {
  local wanted=("$@") name known builds=() fetches=() failed=0
  case "${1:-}" in
    --list) printf '%s\n' "${build_tools[@]}" "${fetch_tools[@]}"; return 0 ;;
    --install-now) "install_$2"; return 0 ;;
    "") wanted=("${test_set[@]}") ;;
    all) wanted=("${build_tools[@]}" "${fetch_tools[@]}") ;;
  esac
  for name in "${wanted[@]}"; do
    version_of "$name" >/dev/null
    known=" ${build_tools[*]} "
    if [[ $known == *" $name "* ]]; then builds+=("$name"); else fetches+=("$name"); fi
  done
  lane "${fetches[@]}" &
  lane "${builds[@]}" || failed=1
  wait $! || failed=1
  [ $failed = 0 ] || die "not everything could be installed, see above"
}

main "$@"; exit
