package admin

import (
	"encoding/json"
	"net/http"
)

const base = "/api/v1"

// table is THE table: dispatch, authorisation and the OpenAPI document are made
// from it.
func (s *Server) table() []route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	prefix := param{name: "prefix", doc: "only names that begin with it"}
	protocol := param{name: "protocol", doc: "only those of this protocol"}
	return []route{
		{get, base + "/openapi.json", "getOpenAPI", "meta", "This document", public, nil, nil, json.RawMessage{}, 0, s.openAPI},
		{get, base + "/cluster", "getCluster", "meta", "The cluster and its gateways", look, nil, nil, Cluster{}, 0, s.getCluster},

		{post, base + "/cluster/trust-clock", "trustClock", "cluster", "Say that the clock is right, though it jumped: records are freed and expire by it again", administ, nil, nil, nil, 0, s.trustClock},

		{get, base + "/topics", "listTopics", "topics", "Topics, by name", look, withPaging(prefix), nil, page[Topic]{}, 0, s.listTopics},
		{post, base + "/topics", "createTopic", "topics", "Create a topic", asks, nil, TopicCreate{}, Topic{}, http.StatusCreated, s.createTopic},
		{get, base + "/topics/{name}", "getTopic", "topics", "One topic", look, nil, nil, Topic{}, 0, s.getTopic},
		{patch, base + "/topics/{name}", "updateTopic", "topics", "Change a topic's settings, captures or number of shards", asks, nil, TopicUpdate{}, Topic{}, 0, s.updateTopic},
		{del, base + "/topics/{name}", "deleteTopic", "topics", "Delete a topic and its records", asks, nil, nil, nil, 0, s.deleteTopic},
		{get, base + "/topics/{name}/shards", "listShards", "shards", "A topic's shards with their offsets", look, paging, nil, page[Shard]{}, 0, s.listShards},
		{get, base + "/topics/{name}/shards/{index}", "getShard", "shards", "One shard", look, nil, nil, Shard{}, 0, s.getShard},
		{get, base + "/topics/{name}/shards/{index}/segments", "listSegments", "shards", "Where a shard's flushed records are in object storage", look, paging, nil, page[Segment]{}, 0, s.listSegments},

		{get, base + "/groups", "listGroups", "groups", "Consumer groups of all protocols with their lag", look, withPaging(prefix, protocol), nil, page[Group]{}, 0, s.listGroups},
		{get, base + "/groups/{name}", "getGroup", "groups", "One group, with its bindings or positions", look, nil, nil, Group{}, 0, s.getGroup},
		{del, base + "/groups/{name}", "deleteGroup", "groups", "Delete a group with all it holds: a queue, a session, a shared subscription, a Kafka group", administ, []param{{name: "force", doc: "true: also one that is in use; not of Kafka's"}}, nil, nil, 0, s.deleteGroup},
		{post, base + "/groups/{name}/seek", "seekGroup", "groups", "Let a group begin again somewhere else; while it has no consumers", administ, nil, GroupMove{}, nil, 0, s.moveGroup},

		{get, base + "/connections", "listConnections", "connections", "Open connections to this gateway", look,
			withPaging(protocol, param{name: "user", doc: "only those of this user"}, param{name: "client_id", doc: "only those of this client"}), nil, page[Connection]{}, 0, s.listConnections},
		{del, base + "/connections/{id}", "closeConnection", "connections", "Close a connection", administ, nil, nil, nil, 0, s.closeConnection},
		{get, base + "/sessions", "listSessions", "connections", "Sessions that outlive their connections", look, paging, nil, page[Session]{}, 0, s.listSessions},
		{get, base + "/sessions/{protocol}/{id}", "getSession", "connections", "One session", look, nil, nil, Session{}, 0, s.getSession},
		{del, base + "/sessions/{protocol}/{id}", "deleteSession", "connections", "End a session with all it holds; its connection is closed first", administ, nil, nil, nil, 0, s.deleteSession},

		{get, base + "/users", "listUsers", "users", "Accounts, without credentials", asks, paging, nil, page[User]{}, 0, s.listUsers},
		{post, base + "/users", "createUser", "users", "Create an account", administ, nil, UserCreate{}, User{}, http.StatusCreated, s.createUser},
		{get, base + "/users/{name}", "getUser", "users", "One account", asks, nil, nil, User{}, 0, s.getUser},
		{patch, base + "/users/{name}", "updateUser", "users", "Change an account's limits or rights", administ, nil, UserUpdate{}, User{}, 0, s.updateUser},
		{put, base + "/users/{name}/password", "setPassword", "users", "Set an account's password", asks, nil, Password{}, nil, 0, s.setPassword},
		{del, base + "/users/{name}", "deleteUser", "users", "Delete an account; the last superuser stays", administ, nil, nil, nil, 0, s.deleteUser},

		{get, base + "/acls", "listACLs", "acls", "Access rules", asks, withPaging(param{name: "principal", doc: "only those of this principal"}), nil, page[ACL]{}, 0, s.listACLs},
		{post, base + "/acls", "putACLs", "acls", "Add access rules; with the first one, what no rule allows is denied", administ, nil, ACLs{}, nil, 0, s.putACLs},
		{post, base + "/acls/delete", "deleteACLs", "acls", "Delete access rules equal to those given", administ, nil, ACLs{}, nil, 0, s.deleteACLs},

		{post, base + "/flush", "flush", "operations", "Write everything the write-ahead log holds to object storage now", administ, nil, nil, nil, 0, s.flush},
		{post, base + "/drain", "drain", "operations", "Accept no more connections and tell all clients to go elsewhere, until a restart", administ, nil, nil, nil, 0, s.drain},
	}
}
