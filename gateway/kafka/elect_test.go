package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestElections(t *testing.T) {
	s := newStand(t)
	s.topic("t", 2, nil)
	w := s.dial()
	q := kmsg.NewPtrElectLeadersRequest()
	q.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{1, 2}}, {Topic: "none", Partitions: []int32{0}}}
	for v := int16(0); v <= 2; v++ {
		r := ask[*kmsg.ElectLeadersResponse](w, q, v)
		if r.ErrorCode != 0 || len(r.Topics) != 2 || r.Topics[0].Partitions[0].ErrorCode != codeElectionNotNeeded ||
			r.Topics[0].Partitions[1].ErrorCode != codeUnknownTopicOrPartition || r.Topics[1].Partitions[0].ErrorCode != codeUnknownTopicOrPartition {
			t.Errorf("v%d: %+v", v, r)
		}
	}
	q.Topics = nil
	if r := ask[*kmsg.ElectLeadersResponse](w, q, 2); r.ErrorCode != 0 || len(r.Topics) != 0 {
		t.Errorf("all partitions: %+v", r)
	}
}

func TestElectionsAreForThoseWhoMayAlter(t *testing.T) {
	s := newStand(t, withUsers(t, map[string]string{"admin": "admin"}))
	w := s.admin()
	ask[*kmsg.CreateACLsResponse](w, aclReq(aclTopic, "t", aclLiteral, kafkaOpRead), 3)
	if r := ask[*kmsg.ElectLeadersResponse](s.dial(), kmsg.NewPtrElectLeadersRequest(), 2); r.ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("without a rule: %d", r.ErrorCode)
	}
}
