package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
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
// again, within a minute, when they change, and on SIGHUP.
func (c *Config) tlsConfig(log *slog.Logger) (*tls.Config, *reloader, error) {
	if c.TLS.CertFile == "" && c.TLS.KeyFile == "" {
		return nil, nil, nil
	}
	r := &reloader{cfg: c.TLS, log: log}
	if err := r.reload(c.TLS); err != nil {
		return nil, nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return r.current()
	}}, r, nil
}

// reloader keeps the last good configuration, and says so when there is a newer
// one that is not good.
type reloader struct {
	log *slog.Logger

	mu       sync.Mutex
	cfg      TLSConfig
	checked  time.Time
	stamp    [3]time.Time
	conf     *tls.Config
	until    time.Time // the certificate is valid
	failed   error     // why the last reload failed
	since    time.Time
	failures int64
}

const reloadInterval = time.Minute

// current gives the configuration for a handshake.
func (r *reloader) current() (*tls.Config, error) {
	r.look()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conf, nil
}

// look reads the files again when they changed and were not looked at for a
// minute. It is called by handshakes, and by the clock where there are none.
func (r *reloader) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < reloadInterval {
		return
	}
	r.checked = time.Now()
	if stamps(&r.cfg) == r.stamp && r.failed == nil {
		return
	}
	_ = r.read(r.cfg) // said there
}

// reload reads the files of cfg now, and keeps what was where they are not good.
func (r *reloader) reload(cfg TLSConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checked = time.Now()
	return r.read(cfg)
}

// read takes cfg's files when they are good; else what was goes on. mu is held.
func (r *reloader) read(cfg TLSConfig) error {
	stamp := stamps(&cfg)
	conf, err := loadTLS(&cfg)
	if err != nil {
		r.failures++
		if r.conf != nil && (r.failed == nil || r.failed.Error() != err.Error()) {
			r.log.Error("the TLS certificate could not be read again: the old one goes on", "error", err, "valid_until", r.until)
		}
		if r.failed == nil {
			r.since = time.Now()
		}
		r.failed = err
		return err
	}
	if r.conf != nil {
		r.log.Info("TLS certificate read again", "file", cfg.CertFile, "valid_until", conf.Certificates[0].Leaf.NotAfter)
	}
	r.cfg, r.conf, r.stamp, r.failed, r.until = cfg, conf, stamp, nil, conf.Certificates[0].Leaf.NotAfter
	return nil
}

// state gives what metrics and health tell.
func (r *reloader) state() (failures int64, failing bool, until time.Time, trouble error) {
	if r == nil {
		return 0, false, time.Time{}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	failing = r.failed != nil
	if failing {
		trouble = fmt.Errorf("the TLS certificate could not be read again for %s, the old one goes on: %w", time.Since(r.since).Round(time.Second), r.failed)
	}
	if now := time.Now(); now.After(r.until) {
		trouble = errors.Join(trouble, fmt.Errorf("the certificate of the TLS listeners is over since %s", r.until.UTC().Format(time.RFC3339)))
	}
	return r.failures, failing, r.until, trouble
}

func stamps(cfg *TLSConfig) (s [3]time.Time) {
	for i, f := range []string{cfg.CertFile, cfg.KeyFile, cfg.ClientCAFile} {
		if st, err := os.Stat(f); err == nil {
			s[i] = st.ModTime()
		}
	}
	return s
}

func loadTLS(cfg *TLSConfig) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	if cert.Leaf == nil { // as with GODEBUG=x509keypairleaf=0
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if cfg.ClientCAFile == "" {
		return conf, nil
	}
	if conf.ClientCAs, err = readPool(cfg.ClientCAFile); err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	return conf, nil
}
