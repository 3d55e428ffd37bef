package shard

import (
	"context"
	"sync"
)

// Topics finds and administers topics. All methods may be called concurrently.
type Topics interface {
	TopicReader
	// Resolve gives the topic that captures a subject. Where none does and
	// create is set, the subject gets a topic of its own, or past
	// topics.auto_create.max the built-in catch-all topic; otherwise
	// ErrTopicNotFound.
	Resolve(ctx context.Context, subject string, create bool) (*Topic, error)
	// Create makes a topic: Name, Shards (0: default), Captures, Config and
	// Labels are taken from t. Errors: ErrTopicExists, ErrCaptureConflict,
	// KindInvalid, KindUnavailable.
	Create(ctx context.Context, t Topic) (*Topic, error)
	// Update changes a topic's Shards (only up), Captures, Config or Labels by
	// fn, which may be called again when somebody else changed it meanwhile.
	Update(ctx context.Context, name string, fn func(*Topic) error) (*Topic, error)
	// Delete removes a topic and its records.
	Delete(ctx context.Context, name string) error
}

// TopicReader reads the local snapshot; no call leaves the process.
type TopicReader interface {
	ByName(name string) (*Topic, bool)
	ByNum(n TopicNum) (*Topic, bool)
	// List gives all topics by name, internal ones left out.
	List() []*Topic
	// Changed gives a channel that is closed at the next change of any topic.
	Changed() <-chan struct{}
}

// MakeAll has the topics of subjects made that nothing captures yet, all at once: a
// catalog takes many in one transaction. What comes of it Resolve tells.
func MakeAll(ctx context.Context, t Topics, subjects []string) {
	var wg sync.WaitGroup
	room := make(chan struct{}, maxMaking)
	for _, s := range subjects {
		room <- struct{}{}
		wg.Go(func() {
			_, _ = t.Resolve(ctx, s, true) // asked again by who needs it
			<-room
		})
	}
	wg.Wait()
}

// maxMaking bounds the topics that one MakeAll waits for at a time.
const maxMaking = 256
