package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSConfig is the certificate of the TLS listeners; with a client CA, clients
// have to show a certificate of it (mTLS).
type TLSConfig struct {
	CertFile     string `mapstructure:"cert_file" doc:"certificate chain of the TLS listeners, PEM; read again when it changes"`
	KeyFile      string `mapstructure:"key_file" doc:"its private key, PEM"`
	ClientCAFile string `mapstructure:"client_ca_file" doc:"clients have to show a certificate of this CA (mTLS); empty: they need none"`
}

// tlsConfig gives nil when no certificate is configured. The files are read
// again, within a minute, when they change.
func (c *Config) tlsConfig() (*tls.Config, error) {
	if c.TLS.CertFile == "" && c.TLS.KeyFile == "" {
		return nil, nil
	}
	r := &reloader{cfg: c.TLS}
	if _, err := r.current(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return r.current()
	}}, nil
}

// reloader keeps the last good configuration.
type reloader struct {
	cfg TLSConfig

	mu      sync.Mutex
	checked time.Time
	stamp   [3]time.Time
	conf    *tls.Config
}

const reloadInterval = time.Minute

func (r *reloader) current() (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conf != nil && time.Since(r.checked) < reloadInterval {
		return r.conf, nil
	}
	r.checked = time.Now()
	stamp := r.stamps()
	if r.conf != nil && stamp == r.stamp {
		return r.conf, nil
	}
	conf, err := r.load()
	if err != nil {
		if r.conf != nil { // half-written files: the old certificate goes on
			return r.conf, nil
		}
		return nil, err
	}
	r.conf, r.stamp = conf, stamp
	return conf, nil
}

func (r *reloader) stamps() (s [3]time.Time) {
	for i, f := range []string{r.cfg.CertFile, r.cfg.KeyFile, r.cfg.ClientCAFile} {
		if st, err := os.Stat(f); err == nil {
			s[i] = st.ModTime()
		}
	}
	return s
}

func (r *reloader) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(r.cfg.CertFile, r.cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if r.cfg.ClientCAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(r.cfg.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("load client CA: no certificate in " + r.cfg.ClientCAFile)
	}
	conf.ClientCAs, conf.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return conf, nil
}
