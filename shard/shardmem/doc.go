// Package shardmem implements package shard in memory. Gateways are tested on
// it; it keeps the promises that the engine keeps, but for disks.
//
//	b := shardmem.New(shardmem.Options{})
//	defer b.Close()
//	broker := b.Broker()
//
// Completions come from another goroutine, in offset order per shard. By options
// appends are slowed down or refused. Reopen gives a broker with what was
// durable: a restart.
package shardmem
