# RobustMQ. `make` alone prints the targets; the comment after ## is what it prints.

TOOLS    ?= $(CURDIR)/.tools
FUZZTIME ?= 10s
BENCH    ?= .
PKG      ?= ./...
export ROBUSTMQ_TOOLS := $(TOOLS)

LINT = $(TOOLS)/bin/golangci-lint run --config $(CURDIR)/.golangci.yml

.DEFAULT_GOAL := help
.PHONY: help build run test unit race vet lint fuzz crash starts memory e2e demo soak bench bench-peers bench-storage bench-scale bench-scale-curves conform tools up down fmt generate clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/robustmq, static
	CGO_ENABLED=0 go build -trimpath -o bin/robustmq ./cmd/robustmq

run: ## start a broker with no configuration, data in ./data
	env -u ROBUSTMQ_TOOLS go run ./cmd/robustmq serve

test: tools vet lint race e2e ## everything CI runs: tools, vet, lint, unit tests with -race, end-to-end tests

unit: ## unit tests without the race detector (PKG=./wal/... narrows)
	go test $(PKG)

race: ## unit tests with the race detector (PKG=./wal/... narrows)
	go test -race -timeout 15m $(PKG)

vet: ## go vet, all modules
	go vet ./...
	cd test && go vet ./...
	cd test/deploy && go vet ./...
	cd test/bench/storage && go vet ./...

lint: ## golangci-lint, both modules (the rules of the tree are tests in internal/lint)
	@test/tools/install.sh golangci-lint
	$(LINT) ./...
	cd test && $(LINT) ./...

fuzz: ## every fuzz target for FUZZTIME (10s) each (PKG=./wal/... narrows)
	FUZZTIME=$(FUZZTIME) test/tools/fuzz.sh $(PKG)

crash: ## 200 times kill -9 and restart, counting what was acknowledged (20 times in make e2e)
	cd test && go test -v -count=1 -timeout 60m ./crash -kills=200

starts: ## 200 starts with an empty data directory on one etcd and bucket, 70 node names (12 starts in make e2e)
	cd test && go test -v -count=1 -timeout 60m -run TestManyStarts ./e2e -starts=200

memory: ## a broker of 512 MiB under 5,000 slow groups, no store, 10 GB of backlog, 15,000 clients that do not read
	@test/tools/install.sh minio
	cd test && go test -v -count=1 -timeout 120m ./memory -scale=1

soak: ## an hour of steady load by all protocols at default sizes: what may not grow (4 minutes, scaled, in make e2e)
	cd test && go test -v -count=1 -timeout 100m ./soak -full -for=1h

e2e: tools ## end-to-end tests: a real broker, real clients, real MinIO and etcd
	cd test && go test -count=1 -timeout 20m ./...
	cd test/deploy && go test -count=1 ./...

demo: ## one message, four ecosystems' own tools, each publisher in turn
	@test/tools/install.sh nats mqttjs python kafka
	cd test && go run ./e2e/demo

bench: ## Go benchmarks of the product (BENCH=Append PKG=./wal/... narrow)
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

bench-peers: ## the same load on RobustMQ and on its peers, with real clients (BENCHARGS=-quick)
	@test/tools/install.sh nats nats-server kafka mosquitto rabbitmq perftest minio etcd
	cd test && go run ./bench $(BENCHARGS)

bench-storage: ## restart, cold reads (directory, MinIO), a million shards and many topics, without protocols
	cd test/bench/storage && go run .

bench-scale: ## 10,000 MQTT sessions, 1,000 Kafka groups, 10,000 NATS subscriptions, 1,000 AMQP queues at once
	cd test && go run ./bench/scale

bench-scale-curves: ## how cost grows with shards, subscriptions, consumers, segments: figures and docs/charts
	cd test && go run ./bench/curves $(BENCHARGS)

conform: ## outside client libraries' own test suites against this broker
	cd test && go run ./conform

tools: ## install what tests use into .tools (nothing to do: under a second)
	@test/tools/install.sh

up: ## docker compose: MinIO, etcd and one gateway
	docker compose up --build --detach --wait

down: ## stop what `make up` started; data volumes stay
	docker compose down

fmt: ## gofumpt, both modules
	@test/tools/install.sh gofumpt
	$(TOOLS)/bin/gofumpt -w $$(git ls-files --cached --others --exclude-standard '*.go')

generate: ## go generate, then fail if anything checked in changed
	go generate ./...
	git diff --exit-code

clean: ## remove built binaries and bench output; not data, not .tools
	rm -rf bin test/bench/out
