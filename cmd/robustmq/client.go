package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// client calls the admin API of a running gateway.
type client struct {
	base, user, password string
	http                 *http.Client
	out                  io.Writer
	json                 bool
}

const defaultServer = "http://127.0.0.1:8080"

// clientFlags are those of every verb that calls the admin API.
func clientFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.String("server", envOr("ROBUSTMQ_SERVER", defaultServer), "URL of the admin listener (ROBUSTMQ_SERVER)")
	f.String("user", os.Getenv("ROBUSTMQ_USER"), "log in as (ROBUSTMQ_USER)")
	f.String("password", "", "password; better in ROBUSTMQ_PASSWORD, where other users of the machine do not see it")
	f.String("ca-file", "", "trust this CA's certificates too, PEM")
	f.Duration("timeout", time.Minute, "bound of the whole call")
	f.StringP("output", "o", "table", "table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func newClient(cmd *cobra.Command) (*client, error) {
	f := cmd.Flags()
	server, _ := f.GetString("server")
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--server %q is no http or https URL", server)
	}
	c := &client{base: strings.TrimRight(server, "/"), out: cmd.OutOrStdout()}
	c.user, _ = f.GetString("user")
	if c.password, _ = f.GetString("password"); c.password == "" {
		c.password = os.Getenv("ROBUSTMQ_PASSWORD")
	}
	if c.user == "" && c.password != "" {
		c.user = "admin"
	}
	switch o, _ := f.GetString("output"); o {
	case "json":
		c.json = true
	case "table", "":
	default:
		return nil, fmt.Errorf("--output %q is neither table nor json", o)
	}
	timeout, _ := f.GetDuration("timeout")
	tr := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if file, _ := f.GetString("ca-file"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", file)
		}
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	c.http = &http.Client{Timeout: timeout, Transport: tr}
	return c, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// call sends in (nil: no body) and decodes the answer into out (nil: none).
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w; is the gateway running, and --server right?", c.base, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", c.base, err)
	}
	if resp.StatusCode >= 300 {
		return answerError(resp, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", c.base, err)
	}
	return nil
}

func answerError(resp *http.Response, b []byte) error {
	var p struct {
		Error struct{ Kind, Message string }
	}
	msg := strings.TrimSpace(string(b[:min(len(b), 500)]))
	if json.Unmarshal(b, &p) == nil && p.Error.Message != "" {
		msg = p.Error.Message
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s (--user and ROBUSTMQ_PASSWORD)", msg)
	}
	if msg == "" {
		msg = resp.Status
	}
	return errors.New(msg)
}

// list gets all pages of a list.
func list[T any](ctx context.Context, c *client, path string, query url.Values) ([]T, error) {
	q := url.Values{"limit": {"1000"}}
	for k, v := range query {
		if len(v) > 0 && v[0] != "" {
			q[k] = v
		}
	}
	all := []T{}
	for {
		var p struct {
			Items []T
			Next  string
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all, nil
		}
		q.Set("after", p.Next)
	}
}

// show prints a value as JSON, or as the table that fill makes.
func (c *client) show(v any, header string, fill func(row func(cells ...any))) error {
	if c.json {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("encode output: %w", err)
		}
		_, err = fmt.Fprintln(c.out, string(b))
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	fill(func(cells ...any) {
		for i, x := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if t, ok := x.(time.Time); ok {
				x = t.UTC().Format(time.RFC3339)
			}
			s := fmt.Sprint(x)
			if s == "" {
				s = "-"
			}
			fmt.Fprint(w, printable(s))
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// printable keeps names that clients chose from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// verb makes a subcommand that calls the admin API.
func verb(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			return run(cmd, c, args)
		}}
}

// noun groups verbs.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	clientFlags(cmd)
	cmd.AddCommand(verbs...)
	return cmd
}

// alone makes a top-level verb that calls the admin API.
func alone(cmd *cobra.Command) *cobra.Command {
	clientFlags(cmd)
	return cmd
}

func apiPath(parts ...string) string {
	p := "/api/v1"
	for _, x := range parts {
		p += "/" + url.PathEscape(x)
	}
	return p
}
