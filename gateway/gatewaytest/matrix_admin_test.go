package gatewaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// adminVerbs are the operations of the OpenAPI document, which is made of the table of
// routes, and what is served beside them.
func adminVerbs(t *testing.T) (names []string) {
	h := actors[0].settle(t, nil)
	w := httptest.NewRecorder()
	h.admin.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/openapi.json", nil))
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, methods := range doc.Paths {
		for _, op := range methods {
			names = append(names, op.OperationID)
		}
	}
	return append(names, "healthz", "readyz", "metrics", "profiles")
}

// call makes a request as the actor, as robustmq does on this machine.
func (c *cell) call(method, path, body string) string {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:999"
	if c.who.remote != nil {
		r.RemoteAddr = c.who.remote.String()
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.who.user != "" {
		r.SetBasicAuth(c.who.user, password)
	}
	w := httptest.NewRecorder()
	c.h.admin.Handler().ServeHTTP(w, r)
	switch {
	case w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden:
		return no
	case w.Code < 300 || w.Code == http.StatusNotFound: // not found comes after the question
		return yes
	}
	return fmt.Sprintf("status %d", w.Code)
}

func adminRows() protocolRows {
	p := protocolRows{name: "admin", verbs: adminVerbs}
	add := func(verb, object string, try func(c *cell) string) {
		p.rows = append(p.rows, row{verb: verb, object: object, early: true, try: try})
	}
	get := func(path string) func(c *cell) string {
		return func(c *cell) string { return c.call("GET", path, "") }
	}
	for _, x := range [][3]string{
		{"healthz", "health", "/healthz"}, {"readyz", "health", "/readyz"}, {"metrics", "metrics", "/metrics"}, {"profiles", "profiles of the process", "/debug/pprof/goroutine"},
		{"getOpenAPI", "the API's document", "/api/v1/openapi.json"}, {"getCluster", "the cluster", "/api/v1/cluster"},
		{"listTopics", "all topics", "/api/v1/topics"}, {"getTopic", "any topic", "/api/v1/topics/x"}, {"listShards", "any topic", "/api/v1/topics/x/shards"},
		{"getShard", "any topic", "/api/v1/topics/x/shards/0"}, {"listSegments", "any topic", "/api/v1/topics/x/shards/0/segments"},
		{"listGroups", "all groups", "/api/v1/groups"}, {"getGroup", "any group", "/api/v1/groups/x"},
		{"listConnections", "all connections", "/api/v1/connections"}, {"listSessions", "all sessions", "/api/v1/sessions"},
		{"listUsers", "accounts", "/api/v1/users"}, {"getUser", "another's account", "/api/v1/users/root"}, {"listACLs", "rules", "/api/v1/acls"},
	} {
		add(x[0], x[1], get(x[2]))
	}
	adminTopicRows(add)
	add("deleteGroup", "own group", func(c *cell) string { return c.call("DELETE", "/api/v1/groups/kafka%2Fgroup%2F"+c.name("own"), "") })
	add("deleteGroup", "another's group", func(c *cell) string { return c.call("DELETE", "/api/v1/groups/amqp%2F%2F%2Fnone", "") })
	add("seekGroup", "another's group", func(c *cell) string {
		return c.call("POST", "/api/v1/groups/amqp%2F%2F%2Fnone/seek", `{"to":"latest"}`)
	})
	add("getSession", "any session", get("/api/v1/sessions/mqtt/none"))
	add("deleteSession", "another's session", func(c *cell) string { return c.call("DELETE", "/api/v1/sessions/mqtt/none", "") })
	add("closeConnection", "another's connection", func(c *cell) string { return c.call("DELETE", "/api/v1/connections/999999", "") })
	adminAccountRows(add)
	add("flush", "the log", func(c *cell) string { return c.call("POST", "/api/v1/flush", "") })
	add("trustClock", "the clock", func(c *cell) string { return c.call("POST", "/api/v1/cluster/trust-clock", "") })
	add("listLogs", "logs that are waited for", get("/api/v1/logs"))
	add("listLogRanges", "a log that is waited for", get("/api/v1/logs/none/ranges"))
	add("abandonLog", "a log that is waited for", func(c *cell) string { return c.call("POST", "/api/v1/logs/none/abandon", `{"confirm":"none"}`) })
	add("drain", "the gateway", func(c *cell) string { return c.call("POST", "/api/v1/drain", "") })
	return p
}

func adminTopicRows(add func(verb, object string, try func(c *cell) string)) {
	const path = "/api/v1/topics"
	create := func(kind, captures string) func(c *cell) string {
		return func(c *cell) string {
			filters := "[]"
			if captures != "" {
				filters = `["` + c.name(captures) + `.>"]`
			}
			return c.call("POST", path, fmt.Sprintf(`{"name":%q,"captures":%s,"config":{}}`, c.name(kind), filters))
		}
	}
	for _, kind := range []string{"own", "den"} {
		object := topics[kind]
		add("createTopic", object, create(kind, ""))
	}
	add("createTopic", "topic that captures own subjects", create("own", "own.c"))
	add("createTopic", "topic that captures a denied subject", create("own", "mix"))
	for _, kind := range []string{"own", "den"} {
		object := topics[kind]
		add("updateTopic", object, func(c *cell) string {
			return c.call("PATCH", path+"/"+c.topic(c.name(kind)).Name, `{"config":{"retention_ms":1000}}`)
		})
	}
	capture := func(captures string) func(c *cell) string {
		return func(c *cell) string {
			return c.call("PATCH", path+"/"+c.topic(c.name("own")).Name, `{"captures":["`+c.name(captures)+`.>"]}`)
		}
	}
	add("updateTopic", "capture of own subjects", capture("own.c"))
	add("updateTopic", "capture of a denied subject", capture("mix"))
	for _, kind := range []string{"own", "den"} {
		object := topics[kind]
		add("deleteTopic", object, func(c *cell) string { return c.call("DELETE", path+"/"+c.topic(c.name(kind)).Name, "") })
	}
}

func adminAccountRows(add func(verb, object string, try func(c *cell) string)) {
	restoring := func(c *cell, user string, try func() string) string {
		old, ok := c.h.broker.Users.User(user)
		got := try()
		if ok {
			if err := c.h.broker.Users.Put(context.Background(), *old); err != nil {
				c.t.Fatal(err)
			}
		}
		return got
	}
	add("createUser", "an account", func(c *cell) string {
		return c.call("POST", "/api/v1/users", fmt.Sprintf(`{"name":%q,"password":"long enough"}`, c.name("user")))
	})
	add("updateUser", "limits and rank of an account", func(c *cell) string {
		return restoring(c, "eve", func() string { return c.call("PATCH", "/api/v1/users/eve", `{"max_connections":100}`) })
	})
	add("setPassword", "own credentials", func(c *cell) string {
		if c.who.user == "" {
			return "-"
		}
		return restoring(c, c.who.user, func() string {
			return c.call("PUT", "/api/v1/users/"+c.who.user+"/password", `{"password":"long enough"}`)
		})
	})
	add("setPassword", "another's credentials", func(c *cell) string {
		of := "bob"
		if c.who.user == of {
			of = "eve"
		}
		return restoring(c, of, func() string { return c.call("PUT", "/api/v1/users/"+of+"/password", `{"password":"long enough"}`) })
	})
	add("deleteUser", "another's account", func(c *cell) string {
		return c.call("DELETE", "/api/v1/users/nobody", "")
	})
	rule := `{"rules":[{"principal":"nobody","resource":"subject","filter":"x","operation":"publish"}]}`
	add("putACLs", "rules", func(c *cell) string { return c.call("POST", "/api/v1/acls", rule) })
	add("deleteACLs", "rules", func(c *cell) string {
		return c.call("POST", "/api/v1/acls/delete", strings.Replace(rule, "nobody", "none", 1))
	})
}
