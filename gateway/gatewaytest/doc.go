// Package gatewaytest tests what package gateway promises for all protocols
// alike, with the four gateways on real sockets over one broker in memory: the
// limits of a user and the login by a client certificate.
package gatewaytest
