package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
)

// ClientTLS says how this process, as a client, knows a server and is known by it.
type ClientTLS struct {
	CAFile     string `mapstructure:"ca_file" doc:"trust this CA's certificates, and no others, PEM; empty: the system's"`
	CertFile   string `mapstructure:"cert_file" doc:"certificate chain to show, PEM; read again when it changes"`
	KeyFile    string `mapstructure:"key_file" doc:"its private key, PEM"`
	ServerName string `mapstructure:"server_name" doc:"name that the server's certificate has to bear; empty: the host in its address"`
}

// config gives nil where nothing is configured.
func (t *ClientTLS) config() (*tls.Config, error) {
	if *t == (ClientTLS{}) {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := readPool(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		conf.RootCAs = pool
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cert_file and key_file go together")
	}
	if t.CertFile != "" {
		k := &clientCert{cert: t.CertFile, key: t.KeyFile}
		if _, err := k.get(nil); err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		conf.GetClientCertificate = k.get
	}
	return conf, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + file)
	}
	return pool, nil
}

// clientCert reads a client certificate for each handshake, and keeps the last one
// that could be read: files are not replaced in one step.
type clientCert struct {
	cert, key string
	mu        sync.Mutex
	last      *tls.Certificate
}

func (k *clientCert) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(k.cert, k.key)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.last = &c
	case k.last == nil:
		return nil, err
	}
	return k.last, nil
}

// loadClients reads what the configuration names for etcd and the object store:
// certificates, and secrets that are in files.
func (c *Config) loadClients() error {
	var errs []error
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	var err error
	c.etcdTLS, err = c.Etcd.TLS.config()
	note("etcd.tls", err)
	c.storeTLS, err = c.Store.TLS.config()
	note("store.tls", err)
	note("etcd.password_file", fromFile(c.Etcd.PasswordFile, &c.Etcd.Password))
	note("store.access_key_file", fromFile(c.Store.AccessKeyFile, &c.Store.AccessKey))
	note("store.secret_key_file", fromFile(c.Store.SecretKeyFile, &c.Store.SecretKey))
	if c.etcdTLS != nil {
		for _, e := range c.Etcd.Endpoints {
			note("etcd.endpoints", encrypted(e))
		}
	}
	if c.storeTLS != nil {
		note("store.endpoint", encrypted(c.Store.Endpoint))
	}
	return errors.Join(errs...)
}

// encrypted refuses an address that would be spoken to in clear text although
// certificates are configured for it.
func encrypted(address string) error {
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
		return fmt.Errorf("%s is not encrypted, and certificates are configured for it: write https", address)
	}
	return nil
}

// fromFile reads a secret from a file, without the line's end.
func fromFile(file string, to *string) error {
	if file == "" {
		return nil
	}
	if *to != "" {
		return errors.New("the value is set as well as the file")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	*to = strings.TrimRight(string(b), "\r\n")
	return nil
}
