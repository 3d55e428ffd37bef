package tier

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// KeyPrefix begins the keys of all segment objects.
const KeyPrefix = "segments/"

// MarkerPrefix begins the keys of markers: objects that say whose the segments
// of a store are.
const MarkerPrefix = "clusters/"

// MarkerKey returns the key of a cluster's marker. What is in it is for people.
func MarkerKey(cluster string) string { return MarkerPrefix + cluster }

// revisionSuffix ends the folder of a cluster's revision objects, beside its marker.
const revisionSuffix = ".rev/"

// RevisionKey returns the key of the object that says which revision a cluster's
// catalog has reached: objects are immutable, so each revision has its own. What
// is in it is for people.
//
//	clusters/<id of the cluster>.rev/<revision, 20 digits>
func RevisionKey(cluster string, revision int64) string {
	return fmt.Sprintf("%s%020d", RevisionPrefix(cluster), revision)
}

// RevisionPrefix begins the revision keys of a cluster.
func RevisionPrefix(cluster string) string { return MarkerKey(cluster) + revisionSuffix }

// ParseRevisionKey is the inverse of RevisionKey; ok is false for other keys.
func ParseRevisionKey(key string) (cluster string, revision int64, ok bool) {
	rest, isMarker := strings.CutPrefix(key, MarkerPrefix)
	cluster, digits, cut := strings.Cut(rest, revisionSuffix)
	revision, err := strconv.ParseInt(digits, 10, 64)
	if !isMarker || !cut || err != nil || revision < 0 || RevisionKey(cluster, revision) != key {
		return "", 0, false
	}
	return cluster, revision, true
}

// MaxLevel is the highest level of a segment.
const MaxLevel = 9

// Name is what the key of a segment object says.
type Name struct {
	Level int
	Epoch int64 // of the writer, when it wrote: a restored catalog starts above all epochs seen
	ID    ulid.ULID
}

// Time is when the writer named the object, by its own clock.
func (n Name) Time() time.Time { return ulid.Time(n.ID.Time()) }

// Key returns the key of a segment object:
//
//	segments/<level>/<hash>/<epoch>-<ulid>
//	segments/0/9c/000000000000002a-01JCX0V5S9D8R7K2M4N6P8Q0ST
//
// hash is two hexadecimal digits that spread the objects over the partitions of
// the store; epoch has 16 hexadecimal digits. level is 0 to MaxLevel and epoch
// is not negative; other values give a key that ParseKey refuses.
func Key(level int, epoch int64, id ulid.ULID) string {
	return fmt.Sprintf("%s%d/%02x/%016x-%s", KeyPrefix, level, byte(crc32.Checksum(id[:], castagnoli)), uint64(epoch), id)
}

// ErrName: a key that Key does not make.
var ErrName = errors.New("not the key of a segment object")

// ParseKey is the inverse of Key.
func ParseKey(key string) (Name, error) {
	var n Name
	bad := func() (Name, error) { return Name{}, fmt.Errorf("parse key %q: %w", key, ErrName) }
	rest, ok := strings.CutPrefix(key, KeyPrefix)
	part := strings.Split(rest, "/")
	if !ok || len(part) != 3 || len(part[0]) != 1 {
		return bad()
	}
	level, err := strconv.ParseUint(part[0], 10, 8)
	if err != nil || level > MaxLevel {
		return bad()
	}
	hex, id, ok := strings.Cut(part[2], "-")
	if !ok || len(hex) != 16 {
		return bad()
	}
	epoch, err := strconv.ParseInt(hex, 16, 64)
	if err != nil || epoch < 0 {
		return bad()
	}
	n.Level, n.Epoch = int(level), epoch
	if n.ID, err = ulid.ParseStrict(id); err != nil {
		return bad()
	}
	if Key(n.Level, n.Epoch, n.ID) != key { // other case, other hash
		return bad()
	}
	return n, nil
}
