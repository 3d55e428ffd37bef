// Package e2e tests a real broker with real clients, and the layers below it on real servers. Its
// tests start every process they need, on loopback, through package harness.
package e2e
