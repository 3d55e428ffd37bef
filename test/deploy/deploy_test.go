package deploy

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "../..",
		ConfigFiles: []types.ConfigFile{{Filename: "../../docker-compose.yml"}},
		Environment: types.Mapping{},
	})
	if err != nil {
		t.Fatalf("load docker-compose.yml: %v", err)
	}
	return p
}

func TestComposeIsValid(t *testing.T) {
	p := loadCompose(t)
	if got, want := p.ServiceNames(), []string{"bucket", "etcd", "gateway", "minio"}; !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	gateway := p.Services["gateway"]
	for dep, want := range map[string]string{"etcd": "service_healthy", "bucket": "service_completed_successfully"} {
		if got := gateway.DependsOn[dep].Condition; got != want {
			t.Errorf("the gateway starts on %q of %s, want %q", got, dep, want)
		}
	}
	for _, v := range gateway.Volumes {
		if v.Type == types.VolumeTypeBind {
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("bind mount: %v", err)
			}
		}
	}
}

// TestComposePublishesOnLoopbackOnly: the gateway's configuration opens the default password to
// every address of the container, so the host must not pass that on.
func TestComposePublishesOnLoopbackOnly(t *testing.T) {
	published := 0
	for name, s := range loadCompose(t).Services {
		for _, port := range s.Ports {
			published++
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q, want 127.0.0.1", name, port.Published, port.HostIP)
			}
		}
	}
	if published < 6 {
		t.Errorf("%d ports are published, want the gateway's six at least", published)
	}
}

func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	result, err := parser.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	for _, w := range result.Warnings {
		t.Errorf("warning: %s", w.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, at []parser.Range) {
		t.Errorf("%s at %v: %s (%s)", rule, at, message, description)
	}})
	stages, _, err := instructions.Parse(result.AST, lint)
	if err != nil {
		t.Fatalf("parse instructions: %v", err)
	}
	last := stages[len(stages)-1]
	user, exposed := "", []string(nil)
	for _, c := range last.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.ExposeCommand:
			exposed = append(exposed, c.Ports...)
		}
	}
	if user == "" || strings.HasPrefix(user, "0") || user == "root" {
		t.Errorf("the image runs as %q, want an unprivileged user", user)
	}
	for _, port := range loadCompose(t).Services["gateway"].Ports {
		if !slices.Contains(exposed, port.Published) {
			t.Errorf("compose publishes %s, which the image does not expose (%v)", port.Published, exposed)
		}
	}
}
