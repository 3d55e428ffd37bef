package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// SaslAuthenticate (36): v0-2. A failure is answered, after a pause, and ends the
// connection.
func serveSASLAuthenticate(c *conn, r *request) {
	q := r.body.(*kmsg.SASLAuthenticateRequest)
	resp := q.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	resp.SASLAuthBytes = []byte{}
	if c.sasl.idle() {
		resp.ErrorCode, resp.ErrorMessage = codeIllegalSASLState, ptr("a SaslHandshake must come first")
		c.failSASL(r, resp)
		return
	}
	answer, p, done, err := c.stepSASL(c.ctx, q.SASLAuthBytes)
	if err == nil && done {
		err = c.finishSASL(p, r.clientID)
	}
	if err != nil {
		c.srv.env.Stats.AuthFailures.Add(1)
		c.log.Info("login failed", "mechanism", c.sasl.mechanism, "error", err)
		resp.ErrorCode, resp.ErrorMessage = codeSASLAuthenticationFailed, ptr("Authentication failed: "+err.Error())
		c.failSASL(r, resp)
		return
	}
	if answer != nil {
		resp.SASLAuthBytes = answer
	}
	r.reply(resp)
}

func (c *conn) failSASL(r *request, resp kmsg.Response) {
	c.sasl.broken = true
	r.fatal = true
	r.replyAfter(resp, refusalPause) // as Kafka's connection.failed.authentication.delay.ms: librdkafka comes again at once
}
