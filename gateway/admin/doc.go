// Package admin is the HTTP gateway for operators: health, metrics and the
// administrative API.
//
// # Nouns
//
//   - Server: the HTTP side of one process. It is not one of the protocols'
//     table: it speaks of them.
//   - route: one line of the table in routes.go. Dispatch, the OpenAPI document
//     and the authorisation of a call are made from it, so they cannot differ.
//   - Engine: what is asked of the storage engine beyond package shard.
//   - page: every list is given in pages, in a stable order.
//
// # What is served
//
//	/healthz              200 while the process lives, and what is wrong
//	/readyz               200 while it serves, 503 while it does not, and what is wrong
//	/metrics              Prometheus text format
//	/api/v1/openapi.json  the API, as an OpenAPI 3.1 document
//	/api/v1/...           the API, JSON
//
// # Who may call the API
//
// Health, metrics and the OpenAPI document are open to whoever reaches the
// listener, which is on loopback unless the configuration says otherwise; metrics
// not to a proxy on this machine, nor to a page that names it otherwise.
// The API takes HTTP basic authentication against the accounts of the broker.
// Superusers may do everything; others need a rule that allows them the
// operation "admin" on the resource "cluster". While there is no rule at all
// nobody but superusers administers. What a protocol offers too (topics, accounts,
// rules) asks what it asks: gateway/rights.go.
//
// Where there are rules, looking asks for "describe" on the cluster. Without rules,
// without a login, and as anybody who is not an administrator, a caller may look
// at topics, shards, groups, connections and sessions, from loopback only, while
// anonymous access is on, and only when the request was not relayed by a proxy
// and names a loopback host. Accounts, rules and every change ask for an
// administrator. security.allow_anonymous_remotely does not widen this.
//
// Requests that a browser makes for another site are refused.
//
// # Promises
//
// No answer holds a credential. Bodies, headers, connections, requests under way
// and the time of each are bounded. A change that was answered with success is
// durable. Counters begin at zero with the process or, after its catalog session
// was lost, with the new incarnation.
package admin
