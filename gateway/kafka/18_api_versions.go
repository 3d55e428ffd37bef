package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (18): v0-5.
//
// An unknown version is answered in the form of v0 with UNSUPPORTED_VERSION and
// the versions of this API (KIP-511). v5 (KIP-1242): a client that names a
// cluster or node which is not this one is told to bootstrap anew.
func serveAPIVersions(c *conn, r *request) {
	if r.body == nil {
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ErrorCode = codeUnsupportedVersion
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: keyAPIVersions, MinVersion: r.api.shownMin, MaxVersion: r.api.max}}
		r.reply(resp)
		return
	}
	on(apiVersions)(c, r)
}

func apiVersions(_ context.Context, c *conn, q *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ApiVersionsResponse)
	if q.Version >= 3 && (!legalSoftware(q.ClientSoftwareName) || !legalSoftware(q.ClientSoftwareVersion)) {
		resp.ErrorCode = codeInvalidRequest
		return resp
	}
	if q.Version >= 5 {
		cluster := c.srv.broker.Cluster
		switch {
		case (q.ClusterID == nil) != (q.NodeID == -1):
			resp.ErrorCode = codeInvalidRequest
			return resp
		case q.ClusterID != nil && (*q.ClusterID != cluster.ID() || q.NodeID != cluster.Self().ID):
			resp.ErrorCode = codeRebootstrapRequired
			return resp
		}
	}
	for i := range c.srv.apis.rows {
		a := &c.srv.apis.rows[i]
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: a.key, MinVersion: a.shownMin, MaxVersion: a.max})
	}
	return resp
}

// legalSoftware is the pattern of KIP-511.
func legalSoftware(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	alnum := func(b byte) bool { return legalByte(b) && b != '.' && b != '_' && b != '-' }
	for i := range len(s) {
		if !alnum(s[i]) && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return alnum(s[0]) && alnum(s[len(s)-1])
}
