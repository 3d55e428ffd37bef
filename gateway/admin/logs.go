package admin

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// LogKeeper is what an Engine may know of logs that slots wait for. Both methods
// may be called concurrently.
type LogKeeper interface {
	// Logs gives the logs that slots of this gateway wait for.
	Logs() []Log
	// Losses gives what giving up a log may lose, in order.
	Losses(log string) ([]LogRange, error)
	// Abandon gives up for lost what a log holds. The gateway starts over then.
	Abandon(ctx context.Context, log string) error
}

// Log is the write-ahead log of a former owner that slots wait for.
type Log struct {
	ID    string `json:"id"`
	Owner string `json:"owner" doc:"the gateway that wrote it last"`
	Slots []int  `json:"slots" doc:"the slots that wait for it"`
}

// LogRange is what may be lost of a shard with a log.
type LogRange struct {
	Topic string `json:"topic"`
	Index uint32 `json:"index"`
	From  int64  `json:"from" doc:"the first offset that no segment has; all that were given out from here on"`
	Most  int64  `json:"most" doc:"there are no more records than this"`
}

// LogAbandon is the body that gives a log up.
type LogAbandon struct {
	Confirm string `json:"confirm" doc:"the id of the log, again"`
}

func (s *Server) logs() (LogKeeper, error) {
	k, ok := s.env.Engine.(LogKeeper)
	if !ok {
		return nil, shard.Errorf(shard.KindNotFound, "this gateway waits for no logs")
	}
	return k, nil
}

func (s *Server) listLogs(r *request) (any, error) {
	k, err := s.logs()
	if err != nil {
		return nil, err
	}
	return paginate(r, k.Logs(), func(l Log) string { return l.ID }, same)
}

func (s *Server) listLogRanges(r *request) (any, error) {
	k, err := s.logs()
	if err != nil {
		return nil, err
	}
	all, err := k.Losses(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	key := func(x LogRange) string { return x.Topic + "/" + pad(int64(x.Index)) }
	slices.SortFunc(all, func(a, b LogRange) int { return strings.Compare(key(a), key(b)) })
	return paginate(r, all, key, same)
}

func (s *Server) abandonLog(r *request) (any, error) {
	k, err := s.logs()
	if err != nil {
		return nil, err
	}
	in, err := body[LogAbandon](r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if in.Confirm != id {
		return nil, shard.Errorf(shard.KindInvalid, "confirm has to be the id of the log: what it holds is lost then, %s", strconv.Quote(id))
	}
	return nil, k.Abandon(r.Context(), id)
}
