package main

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.etcd.io/etcd/server/v3/embed"
)

// tlsEtcd runs an etcd that only clients of the authority may talk to.
func tlsEtcd(t *testing.T, a *authority) string {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = t.TempDir(), "fatal", []string{os.DevNull}
	peers, clients := url.URL{Scheme: "http", Host: "127.0.0.1:0"}, url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = a.issue("etcd", time.Now().Add(time.Hour))
	cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = a.ca, true
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return "https://" + e.Clients[0].Addr().String()
}

// tlsS3 runs an S3 server of the same kind, with a bucket.
func tlsS3(t *testing.T, a *authority) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("robustmq"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server())
	srv.TLS = a.server()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestPrivateCA: etcd and the object store with certificates of a private CA, who
// want one of each client: it is served with the right files, by both store
// drivers, and refused in words without.
func TestPrivateCA(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	etcd, s3 := tlsEtcd(t, a), tlsS3(t, a)
	cert, key := a.issue("gateway", time.Now().Add(time.Hour))
	strange, strangeKey := other.issue("gateway", time.Now().Add(time.Hour))
	starts := 0
	start := func(kind string, more ...string) error {
		starts++ // each is a new cluster, which needs both
		name := kind + strconv.Itoa(starts)
		set := []string{"etcd.endpoints=" + etcd, "etcd.prefix=/" + name, "store.prefix=" + name, "store.kind=" + kind, "store.endpoint=" + s3, "store.bucket=robustmq",
			"store.access_key=x", "store.secret_key=xxxxxxxx", "store.tries=1", "store.timeout=2s"}
		var flags []string
		for _, s := range append(set, more...) {
			flags = append(flags, "--set", s)
		}
		c, err := load(t, "", nil, append(flags, "--data-dir", t.TempDir())...)
		if err == nil {
			err = c.loadClients()
		}
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		log := slog.New(slog.DiscardHandler)
		st, err := openStorage(ctx, &c, log, nil)
		if err != nil {
			return err
		}
		defer st.close(context.Background(), log)
		_, at := st.clock.Said()
		if said, ok := st.storeTime(ctx); !ok || time.Since(said).Abs() > time.Minute || at.IsZero() {
			t.Errorf("%s: the store's clock says %v, %v", kind, said, ok)
		}
		if said, ok := c.etcdTime(etcd)(ctx); !ok || time.Since(said).Abs() > time.Minute {
			t.Errorf("etcd's clock says %v, %v", said, ok)
		}
		return st.engine.Flush(ctx)
	}
	right := func(section string) []string {
		return []string{section + ".tls.ca_file=" + a.ca, section + ".tls.cert_file=" + cert, section + ".tls.key_file=" + key}
	}
	both := append(right("etcd"), right("store")...)
	for _, kind := range []string{"s3", "minio"} {
		if err := start(kind, both...); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if err := start("minio", append(both, "store.tls.server_name=server", "etcd.tls.server_name=etcd")...); err != nil {
		t.Errorf("server names: %v", err)
	}
	for name, set := range map[string][]string{
		"no CA for the store":         append(right("etcd"), right("store")[1:]...),
		"no certificate":              append(right("etcd"), "store.tls.ca_file="+a.ca),
		"another's certificate":       append(right("etcd"), "store.tls.ca_file="+a.ca, "store.tls.cert_file="+strange, "store.tls.key_file="+strangeKey),
		"another name":                append(both, "store.tls.server_name=elsewhere"),
		"no such file":                append(both, "store.tls.ca_file=/no/such/file"),
		"key without a certificate":   append(both, "etcd.tls.cert_file="),
		"certificates and clear text": append(both, "store.endpoint=http://127.0.0.1:1"),
	} {
		if err := start("minio", set...); err == nil {
			t.Errorf("%s: it started", name)
		}
	}
}

func TestSecretsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, "", map[string]string{"ROBUSTMQ_STORE_SECRET_KEY_FILE": file}, "--set", "etcd.password_file="+file)
	if err == nil {
		err = c.loadClients()
	}
	if err != nil || c.Store.SecretKey != "from-file" || c.Etcd.Password != "from-file" {
		t.Errorf("%q, %q, %v", c.Store.SecretKey, c.Etcd.Password, err)
	}
	c, err = load(t, "", nil, "--set", "etcd.password=x", "--set", "etcd.password_file="+file)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.loadClients(); err == nil || !strings.Contains(err.Error(), "etcd.password_file") {
		t.Errorf("both: %v", err)
	}
}

func TestElsewhere(t *testing.T) {
	for address, want := range map[string]bool{"": false, "localhost:2379": false, "127.0.0.1:1": false, "http://[::1]:2379": false, "http://127.0.0.2:9000": false,
		"etcd:2379": true, "https://s3.example:443": true, "10.0.0.1:2379": true, "0.0.0.0:1": false, "http://minio:9000": true} {
		if elsewhere(address) != want {
			t.Errorf("%q: %v", address, !want)
		}
	}
}
