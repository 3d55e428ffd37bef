package everyday

import (
	"context"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/robustmq/robustmq-go/test/harness"
)

// Reason codes of AUTH (MQTT 5, 3.15.2.1).
const (
	continueAuthentication = 0x18
	reAuthenticate         = 0x19
)

// scramHandler is the AuthHandler of a client that logs in by SCRAM; the
// computing is franz-go's, the same that Kafka's clients do.
type scramHandler struct {
	t       *testing.T
	method  sasl.Mechanism
	session sasl.Session
	steps   int
}

// begin gives the first message of an exchange.
func (h *scramHandler) begin() []byte {
	s, first, err := h.method.Authenticate(h.t.Context(), "")
	must(h.t, err)
	h.session = s
	return first
}

// check takes the server's last message, which proves that it knows the user.
func (h *scramHandler) check(last []byte) {
	h.t.Helper()
	if done, _, err := h.session.Challenge(last); err != nil || !done {
		h.t.Errorf("the server's proof: %v, %v", done, err)
	}
}

// Authenticate answers the server's AUTH.
func (h *scramHandler) Authenticate(a *paho.Auth) *paho.Auth {
	h.steps++
	_, data, err := h.session.Challenge(a.Properties.AuthData)
	if err != nil {
		h.t.Error(err)
	}
	return &paho.Auth{ReasonCode: continueAuthentication, Properties: &paho.AuthProperties{AuthMethod: h.method.Name(), AuthData: data}}
}

// Authenticated has nothing to do.
func (h *scramHandler) Authenticated() {}

// scramConnect connects with an authentication method.
func scramConnect(ctx context.Context, b *harness.Broker, h *scramHandler, method string) (*paho.Client, *paho.Connack, error) {
	conn, err := net.DialTimeout("tcp", harness.Addr(b.Ports.MQTT), answeredWithin)
	must(h.t, err)
	c := paho.NewClient(paho.ClientConfig{Conn: conn, AuthHandler: h})
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: "scram", CleanStart: true, KeepAlive: 30,
		Properties: &paho.ConnectProperties{AuthMethod: method, AuthData: h.begin()},
	})
	return c, ack, err
}

// TestPahoScram logs in to MQTT 5 by SCRAM (enhanced authentication), proves itself
// again on the open connection, and is refused as the standard says.
func TestPahoScram(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	for _, x := range []struct {
		method   func(scram.Auth) sasl.Mechanism
		password string
		name     string // sent instead of the method's
		code     byte
	}{
		{method: scram.Auth.AsSha256Mechanism, password: "robustmq"},
		{method: scram.Auth.AsSha512Mechanism, password: "robustmq"},
		{method: scram.Auth.AsSha256Mechanism, password: "wrong", code: 0x87},
		{method: scram.Auth.AsSha256Mechanism, password: "robustmq", name: "GS2-KRB5", code: 0x8c},
	} {
		h := &scramHandler{t: t, method: x.method(scram.Auth{User: "admin", Pass: x.password})}
		name := h.method.Name()
		if x.name != "" {
			name = x.name
		}
		ctx, cancel := context.WithTimeout(t.Context(), answeredWithin)
		defer cancel()
		c, ack, err := scramConnect(ctx, b, h, name)
		if ack == nil || ack.ReasonCode != x.code || (err == nil) != (x.code == 0) {
			t.Fatalf("%s with %q: %+v, %v; want code %#x", name, x.password, ack, err, x.code)
		}
		if x.code != 0 {
			t.Logf("%s with %q: %v", name, x.password, err)
			continue
		}
		h.check(ack.Properties.AuthData)
		again, err := c.Authenticate(ctx, &paho.Auth{
			ReasonCode: reAuthenticate, Properties: &paho.AuthProperties{AuthMethod: name, AuthData: h.begin()},
		})
		must(t, err)
		if !again.Success || // the library keeps the server's second proof to itself
			h.steps != 2 {
			t.Fatalf("authenticating again: %+v after %d steps", again, h.steps)
		}
		_, err = c.Publish(ctx, &paho.Publish{Topic: "scram/x", QoS: 1, Payload: []byte("x")})
		must(t, err)
		must(t, c.Disconnect(&paho.Disconnect{}))
	}
}
