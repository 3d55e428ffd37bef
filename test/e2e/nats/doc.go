// Package nats tests the NATS gateway of a real broker with NATS' own clients: the Go library, the
// command line tool, and the Python library (client.py).
package nats
