package kafka

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill puts random values into a request.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Version", "UnknownTags", "ReplicaState":
			default:
				fill(r, v.Field(i))
			}
		}
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"", "a", "topic.name"}[r.IntN(3)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	default:
		v.SetInt(int64(r.IntN(100) - 5))
	}
}

func TestShapesAreThoseOfTheDecoder(t *testing.T) {
	tab := newTable()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range tab.rows {
		a := &tab.rows[i]
		for v := a.min; v <= a.max; v++ {
			for range 60 {
				q := kmsg.RequestForKey(a.key)
				fill(r, reflect.ValueOf(q).Elem())
				q.SetVersion(v)
				body := q.AppendTo(nil)
				if !a.shapes[v].fits(body) {
					t.Fatalf("%s v%d: %x does not fit", a.name, v, body)
				}
				again := kmsg.RequestForKey(a.key)
				again.SetVersion(v)
				if err := again.ReadFrom(body); err != nil {
					t.Fatalf("%s v%d: %v", a.name, v, err)
				}
				for n := range body {
					cut := kmsg.RequestForKey(a.key)
					cut.SetVersion(v)
					if ok := cut.ReadFrom(body[:n]) == nil; ok && !a.shapes[v].fits(body[:n]) {
						t.Fatalf("%s v%d: prefix of %d bytes is decoded and does not fit", a.name, v, n)
					}
				}
			}
		}
	}
}

func TestShapeRefusesWhatIsCostlyToDecode(t *testing.T) {
	tab := newTable()
	q := kmsg.NewPtrMetadataRequest()
	q.SetVersion(12)
	body := q.AppendTo(nil)
	many := append(body[:len(body)-1:len(body)-1], 0xff, 0xff, 0xff, 0xff, 0x0f) // 2^32-1 tags
	start := time.Now()
	if tab.find(3).shapes[12].fits(many) || time.Since(start) > 20*time.Second {
		t.Errorf("a body with 2^32-1 tags fits, after %v", time.Since(start))
	}
	huge := []byte{0xff, 0xff, 0xff, 0x7f}
	if tab.find(3).shapes[9].fits(append(huge, make([]byte, 100)...)) {
		t.Error("an array longer than its bytes fits")
	}
	follower := kmsg.NewPtrFetchRequest()
	follower.SetVersion(15)
	follower.ReplicaState.ID = 7
	if tab.find(1).shapes[15].fits(follower.AppendTo(nil)) {
		t.Error("a fetch with the state of a replica fits")
	}
}

// FuzzShape: what fits is decoded without panic and in time; what the decoder
// takes in a small body, the shape takes.
func FuzzShape(f *testing.F) {
	tab := newTable()
	r := rand.New(rand.NewPCG(3, 4))
	for i := range tab.rows {
		a := &tab.rows[i]
		q := kmsg.RequestForKey(a.key)
		fill(r, reflect.ValueOf(q).Elem())
		q.SetVersion(a.max)
		f.Add(a.key, a.max, q.AppendTo(nil))
	}
	f.Add(int16(3), int16(12), []byte{0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		a := tab.find(key)
		if a == nil || version < a.min || version > a.max || !a.shapes[version].fits(body) {
			return
		}
		q := kmsg.RequestForKey(key)
		q.SetVersion(version)
		start := time.Now()
		err := q.ReadFrom(body)
		if d := time.Since(start); d > 20*time.Second {
			t.Fatalf("%s v%d: decoding %d bytes took %v", a.name, version, len(body), d)
		}
		if err == nil {
			q.AppendTo(nil)
		}
	})
}
