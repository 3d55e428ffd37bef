package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

// verdict of a check.
type verdict string

const (
	good verdict = "ok"
	warn verdict = "warn"
	bad  verdict = "fail"
)

// diagnosis is the outcome of one check.
type diagnosis struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Hint    string  `json:"hint,omitempty"`
}

// doctor looks at what a gateway with this configuration stands on.
type doctor struct {
	cfg  *Config
	out  []diagnosis
	busy bool // a gateway runs on the data directory
}

func (d *doctor) say(check string, v verdict, hint, format string, args ...any) {
	if v == good {
		hint = ""
	}
	d.out = append(d.out, diagnosis{check, v, fmt.Sprintf(format, args...), hint})
}

func doctorCommand() *cobra.Command {
	cmd := offlineCommand("doctor", "Examine disk, clock, object store, etcd and limits for this configuration", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadUsed(cmd.Flags())
			if err != nil {
				return err
			}
			d := &doctor{cfg: &cfg}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			d.examine(ctx)
			asJSON, _ := cmd.Flags().GetString("output")
			if asJSON == "json" {
				err = printJSON(cmd.OutOrStdout(), d.out)
			}
			failed := false
			for _, x := range d.out {
				failed = failed || x.Verdict == bad
				if asJSON != "json" {
					fmt.Fprintf(cmd.OutOrStdout(), "%-5s %-16s %s\n", x.Verdict, x.Check, x.Detail)
					if x.Hint != "" {
						fmt.Fprintf(cmd.OutOrStdout(), "%22s %s\n", "->", x.Hint)
					}
				}
			}
			if err == nil && failed {
				return errSaid
			}
			return err
		})
	cmd.Flags().StringP("output", "o", "text", "text or json")
	return cmd
}

func (d *doctor) examine(ctx context.Context) {
	if _, err := os.Stat(d.cfg.DataDir); err == nil {
		if l, err := lockDir(d.cfg.DataDir); err == nil {
			defer func() { _ = l.Close() }()
		} else {
			d.busy = errors.Is(err, syscall.EWOULDBLOCK)
			if !d.busy {
				d.say("data directory", bad, "the user that runs the gateway needs to write to it", "%s", err)
			}
		}
	}
	d.disk()
	d.space()
	d.files()
	d.clock()
	d.store(ctx)
	d.etcd(ctx)
}

// existing gives the nearest ancestor of path that is there.
func existing(path string) string {
	for {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return path
		}
		path = up
	}
}

// disk measures what every acknowledgement costs: a small write and fdatasync.
func (d *doctor) disk() {
	const tries, size = 100, 4096
	dir := existing(d.cfg.walDir())
	f, err := os.CreateTemp(dir, ".robustmq-doctor-*")
	if err != nil {
		d.say("disk", bad, "the user that runs the gateway needs to write to it", "%s", err)
		return
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	buf := make([]byte, size)
	times := make([]time.Duration, 0, tries)
	begun := time.Now()
	for i := range tries {
		t := time.Now()
		if _, err = f.WriteAt(buf, int64(i)*size); err == nil {
			err = fdatasync(f)
		}
		if err != nil {
			d.say("disk", bad, "the disk cannot be trusted with a log", "write and fdatasync in %s: %s", dir, err)
			return
		}
		if times = append(times, time.Since(t)); time.Since(begun) > 3*time.Second {
			break
		}
	}
	slices.Sort(times)
	mid, high := times[len(times)/2], times[len(times)*99/100]
	detail := fmt.Sprintf("fdatasync of 4 KiB in %s: median %s, p99 %s", dir, mid.Round(time.Microsecond), high.Round(time.Microsecond))
	_, _, memory, _ := statfs(dir)
	switch {
	case memory:
		d.say("disk", warn, "this is memory: nothing acknowledged survives a power cut", "%s", detail)
	case mid > 20*time.Millisecond:
		d.say("disk", warn, "each acknowledgement waits for this; put wal.dir on an SSD or NVMe disk", "%s", detail)
	case mid < 15*time.Microsecond:
		d.say("disk", warn, "too fast for a disk: is fdatasync honoured here (virtual disk cache, container overlay)?", "%s", detail)
	default:
		d.say("disk", good, "", "%s", detail)
	}
}

func (d *doctor) space() {
	dir := existing(d.cfg.walDir())
	free, total, _, err := statfs(dir)
	switch {
	case err != nil:
		d.say("free space", warn, "", "of %s cannot be told: %s", dir, err)
	case free < d.cfg.WAL.KeepFree+2*d.cfg.WAL.FileBytes+64<<20:
		d.say("free space", bad, "the write-ahead log needs room, or publishers are refused", "%s: %s of %s free", dir, bytesText(free), bytesText(total))
	case free < d.cfg.WAL.MaxBytes:
		d.say("free space", warn, fmt.Sprintf("less than wal.max_bytes (%s): while the object store is away, the disk fills before publishers are held back", bytesText(d.cfg.WAL.MaxBytes)),
			"%s: %s of %s free", dir, bytesText(free), bytesText(total))
	default:
		d.say("free space", good, "", "%s: %s of %s free", dir, bytesText(free), bytesText(total))
	}
}

func bytesText(n int64) string {
	const mib = 1 << 20
	if n < 10<<30 {
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

func (d *doctor) files() {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		d.say("open files", warn, "", "limit cannot be told: %s", err)
		return
	}
	hint := "each connection takes one: raise LimitNOFILE, --ulimit nofile or the user's hard limit"
	// Go raises the soft limit to the hard one at start.
	switch n := l.Max; {
	case n < 1024:
		d.say("open files", bad, hint, "limit is %d", n)
	case n < uint64(d.cfg.Limits.MaxConnections):
		d.say("open files", warn, hint, "limit is %d, limits.max_connections is %d for each protocol", n, d.cfg.Limits.MaxConnections)
	default:
		d.say("open files", good, "", "limit is %d", n)
	}
}

func (d *doctor) clock() {
	now := time.Now()
	hint := "run an NTP client: timestamps, retention by age and requests to S3 depend on the clock"
	synced, known := clockSynced()
	switch {
	case now.Year() < 2025 || now.Year() > 2100:
		d.say("clock", bad, hint, "it is %s", now.UTC().Format(time.RFC3339))
	case known && !synced:
		d.say("clock", warn, hint, "the kernel says that the clock is not synchronised")
	default:
		d.say("clock", good, "", "%s", now.UTC().Format(time.RFC3339))
	}
}

// store tries every operation on scratch objects.
func (d *doctor) store(ctx context.Context) {
	sc := d.cfg.storeConfig()
	where := d.cfg.storeText()
	if sc.Kind == "dir" {
		if _, err := os.Stat(sc.Dir); errors.Is(err, os.ErrNotExist) {
			d.say("object store", good, "", "%s does not exist yet; serve makes it", where)
			return
		}
		if d.busy {
			d.say("object store", good, "", "%s is in use by the running gateway", where)
			return
		}
	}
	st := &storage{}
	if err := st.openStore(ctx, d.cfg, sc, slog.New(slog.DiscardHandler)); err != nil {
		d.say("object store", bad, "check store.endpoint, store.bucket and the credentials", "%s: %s", where, err)
		return
	}
	defer st.close(ctx, offlineLog())
	pctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	rep := store.Probe(pctx, st.store, "probe/"+ulid.Make().String())
	works := rep.Put && rep.Get && rep.Range && rep.Head && rep.List && rep.Delete
	detail := fmt.Sprintf("%s: put %s, get %s", where, rep.PutLatency.Round(time.Microsecond), rep.GetLatency.Round(time.Microsecond))
	switch {
	case !works:
		d.say("object store", bad, "put, get, head, list and delete are needed: check the credentials' permissions", "%s: %s", where, oneLine(rep.Err()))
		return
	case !rep.ConditionalPut || !rep.ConditionalRace:
		d.say("object store", warn, "conditional puts do not work here; keys are unique, so nothing rests on them", "%s; %s", detail, oneLine(rep.Err()))
	case rep.PutLatency > time.Second:
		d.say("object store", warn, "durability object waits for this", "%s", detail)
	default:
		d.say("object store", good, "", "%s, conditional puts work", detail)
	}
	if skew := rep.ClockSkew.Abs(); skew > 10*time.Minute {
		d.say("store clock", bad, "S3 refuses requests that are 15 minutes off", "%s apart from ours", skew)
	} else if skew > 5*time.Second {
		d.say("store clock", warn, "run an NTP client", "%s apart from ours", skew)
	}
}

func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// etcd asks every member for its version and state, or opens the embedded one.
func (d *doctor) etcd(ctx context.Context) {
	if len(d.cfg.Etcd.Endpoints) == 0 {
		d.embedded(ctx)
		return
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: d.cfg.Etcd.Endpoints, Username: d.cfg.Etcd.Username,
		Password: d.cfg.Etcd.Password, TLS: d.cfg.etcdTLS, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		d.say("etcd", bad, "check etcd.endpoints and the credentials", "%s", err)
		return
	}
	defer func() { _ = c.Close() }()
	alive := 0
	for _, ep := range d.cfg.Etcd.Endpoints {
		if d.member(ctx, c, ep) {
			alive++
		}
	}
	if alive <= len(d.cfg.Etcd.Endpoints)/2 {
		return
	}
	prefix := d.cfg.Etcd.Prefix
	if prefix == "" {
		prefix = catalog.DefaultPrefix
	}
	const reads = 10
	begun := time.Now()
	for range reads {
		rctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := c.Get(rctx, prefix, clientv3.WithCountOnly())
		cancel()
		if err != nil {
			d.say("etcd", bad, "a linearizable read needs a quorum", "read: %s", err)
			return
		}
	}
	v, each := good, time.Since(begun)/reads
	if each > 50*time.Millisecond {
		v = warn
	}
	d.say("etcd latency", v, "each flush waits for a transaction: etcd belongs on fast disks near the gateways", "%s for a linearizable read", each.Round(time.Microsecond))
	cc := d.cfg.catalogConfig(offlineLog())
	cc.Existing = true
	cat, err := catalog.Open(ctx, cc)
	switch {
	case err == nil:
		defer func() { _ = cat.Close() }()
		d.owner(ctx, cat)
	case errors.Is(err, catalog.ErrNotFound):
		d.say("catalog", good, "", "%s is empty; serve makes a new one", d.cfg.etcdText())
		d.owner(ctx, nil)
	default:
		d.say("catalog", bad, "robustmq catalog dump says more", "%s", oneLine(err))
	}
}

// member asks one endpoint.
func (d *doctor) member(ctx context.Context, c *clientv3.Client, ep string) bool {
	mctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := c.Status(mctx, ep)
	switch {
	case err != nil:
		d.say("etcd", bad, "is it up, and may this machine reach it?", "%s: %s", ep, err)
		return false
	case oldEtcd(st.Version):
		d.say("etcd", bad, "3.5 or newer is needed", "%s has version %s", ep, st.Version)
	case st.Leader == 0:
		d.say("etcd", bad, "the cluster has no quorum", "%s has no leader", ep)
	case len(st.Errors) > 0:
		d.say("etcd", bad, "etcdctl alarm list; compact and defragment when it is NOSPACE", "%s: %s", ep, strings.Join(st.Errors, ", "))
	default:
		d.say("etcd", good, "", "%s version %s, %s", ep, st.Version, bytesText(st.DbSize))
	}
	return true
}

func oldEtcd(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err != nil || major < 3 || major == 3 && minor < 5
}

func (d *doctor) embedded(ctx context.Context) {
	c := d.cfg.catalogConfig(offlineLog())
	if err := d.cfg.catalogGone(); err != nil {
		d.say("etcd", bad, noCatalogHint, "%s", strings.TrimSuffix(err.Error(), ": "+noCatalogHint))
		return
	}
	if _, err := os.Stat(filepath.Join(c.Embedded, "member")); errors.Is(err, os.ErrNotExist) {
		d.say("etcd", good, "", "embedded in %s, which does not exist yet; serve makes it", c.Embedded)
		d.owner(ctx, nil)
		return
	}
	if d.busy {
		d.say("etcd", good, "", "embedded in %s, in use by the running gateway", c.Embedded)
		return
	}
	begun := time.Now()
	cat, err := catalog.Open(ctx, c)
	if err != nil {
		d.say("etcd", bad, "embedded etcd does not start: restore its directory from a backup", "%s", err)
		return
	}
	defer func() { _ = cat.Close() }()
	opened := time.Since(begun).Round(time.Millisecond)
	if err := cat.Health(); err != nil {
		d.say("etcd", bad, "robustmq verify says more", "embedded in %s: %s", c.Embedded, err)
		return
	}
	d.say("etcd", good, "", "embedded in %s, opened in %s", c.Embedded, opened)
	d.stored(ctx, cat)
	d.owner(ctx, cat)
}

// owner tells whether the store's segments are this catalog's; cat is nil where
// there is none yet.
func (d *doctor) owner(ctx context.Context, cat *catalog.Catalog) {
	const check = "store owner"
	sc := d.cfg.storeConfig()
	sc.ReadOnly = true
	if sc.Kind == "mem" || sc.Kind == "dir" && d.busy {
		return
	}
	if _, err := os.Stat(sc.Dir); sc.Kind == "dir" && errors.Is(err, os.ErrNotExist) {
		if cat != nil && len(slices.Collect(cat.Segments())) > 0 {
			d.say(check, bad, goneHint, "%s does not exist, and the catalog names objects in it", sc.Dir)
		}
		return
	}
	st := &storage{}
	if err := st.openStore(ctx, d.cfg, sc, slog.New(slog.DiscardHandler)); err != nil {
		return // the check of the object store says so
	}
	defer st.close(ctx, offlineLog())
	octx, cancel := context.WithTimeout(ctx, storedTime)
	defer cancel()
	o, err := engine.LookAtStore(octx, cat, st.store)
	foreign := o.Err()
	switch {
	case err != nil:
		d.say(check, bad, "a new cluster does not start until this is known, a known one flushes nothing", "%s", oneLine(err))
	case foreign != nil && d.cfg.Store.AcceptForeign:
		d.say(check, warn, "store.accept_foreign is set: serve begins anew, whatever is there", "%s", foreign)
	case errors.Is(foreign, engine.ErrObjectsGone):
		d.say(check, bad, goneHint, "%s", foreign)
	case foreign != nil:
		d.say(check, bad, foreignHint, "%s", foreign)
	case len(o.Others) > 0:
		d.say(check, warn, "orphans are not deleted while that marker is there; where that cluster is gone for good, delete it",
			"also marked by cluster %s, below %s", printable(strings.Join(o.Others, ", ")), tier.MarkerPrefix)
	case o.Ours():
		d.say(check, good, "", "cluster %s, since %s", cat.ClusterID(), o.Since.UTC().Format(time.RFC3339))
	case o.Named:
		d.say(check, good, "", "the catalog names its segments; serve marks it as this cluster's")
	default:
		d.say(check, good, "", "it holds no segments yet; serve marks it as this cluster's")
	}
}

// storedTime is what a look at what is stored may take.
const storedTime = 15 * time.Second

// stored compares log, catalog and objects as verify --quick does.
func (d *doctor) stored(ctx context.Context, cat *catalog.Catalog) {
	sc := d.cfg.storeConfig()
	sc.ReadOnly = true
	if _, err := os.Stat(sc.Dir); sc.Kind == "dir" && errors.Is(err, os.ErrNotExist) && len(slices.Collect(cat.Segments())) == 0 {
		return // nothing was flushed yet
	}
	st := &storage{}
	if err := st.openStore(ctx, d.cfg, sc, slog.New(slog.DiscardHandler)); err != nil {
		d.say("stored data", bad, "the catalog names objects of this store", "%s", err)
		return
	}
	defer st.close(ctx, offlineLog())
	sctx, cancel := context.WithTimeout(ctx, storedTime)
	defer cancel()
	rep, err := engine.Check(sctx, cat, st.store, engine.CheckOptions{WALDir: d.cfg.walDir(), Quick: true})
	switch {
	case len(rep.Findings) > 0:
		d.say("stored data", bad, "robustmq verify names all offsets, and says what to do", "%s, the first: %s",
			counted(len(rep.Findings), "finding"), printable(rep.Findings[0].String()))
	case errors.Is(err, context.DeadlineExceeded):
		d.say("stored data", warn, "robustmq verify looks at everything", "too much to look at in %s", storedTime)
	case err != nil:
		d.say("stored data", bad, "", "%s", oneLine(err))
	default:
		d.say("stored data", good, "", "all objects are there (%d), the log is sound (%d entries); robustmq verify checks each byte of the objects",
			rep.Objects, rep.WALEntries)
	}
}
