package packet

import "encoding/binary"

// MaxFilters bounds the topic filters of one SUBSCRIBE or UNSUBSCRIBE.
const MaxFilters = 8192

// Subscribe is a SUBSCRIBE (3.8).
type Subscribe struct {
	ID      uint16
	Props   Props
	Filters []Subscription
}

// Subscription is one topic filter with its options (3.8.3.1).
type Subscription struct {
	Filter            string
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	// RetainHandling: 0 sends retained messages, 1 only for a new subscription,
	// 2 never.
	RetainHandling uint8
}

// Type is SUBSCRIBE.
func (p *Subscribe) Type() Type { return SUBSCRIBE }

func decodeSubscribe(b []byte, v Version) (*Subscribe, error) {
	r := body{b: b}
	p := &Subscribe{ID: r.id()}
	p.Props = r.props(v, SUBSCRIBE)
	for r.err == nil && len(r.b) > 0 {
		if len(p.Filters) == MaxFilters {
			return nil, &Error{QuotaExceeded, "too many topic filters in one packet"}
		}
		s := Subscription{Filter: r.str()}
		o := r.u8()
		if r.err != nil {
			break
		}
		if err := s.setOptions(o, v); err != nil {
			return nil, err
		}
		p.Filters = append(p.Filters, s)
	}
	if err := r.end(SUBSCRIBE); err != nil {
		return nil, err
	}
	if len(p.Filters) == 0 { // [MQTT-3.8.3-2]
		return nil, violation("SUBSCRIBE without a topic filter")
	}
	return p, nil
}

func (s *Subscription) setOptions(o uint8, v Version) error {
	if o&3 == 3 { // [MQTT-3.8.3-4]
		return malformed("QoS 3 does not exist")
	}
	reserved := uint8(0xfc)
	if v >= V5 {
		reserved = 0xc0
	}
	if o&reserved != 0 { // [MQTT-3.8.3-5]
		return malformed("reserved subscription options are set")
	}
	s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling = o&3, o&4 != 0, o&8 != 0, o>>4&3
	if s.RetainHandling == 3 {
		return violation("retain handling 3 does not exist")
	}
	return nil
}

// Options gives the options byte.
func (s *Subscription) Options() uint8 {
	o := s.QoS | s.RetainHandling<<4
	if s.NoLocal {
		o |= 4
	}
	if s.RetainAsPublished {
		o |= 8
	}
	return o
}

// Append writes the packet.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	b := binary.BigEndian.AppendUint16(nil, p.ID)
	if v >= V5 {
		b = p.Props.append(b)
	}
	for i := range p.Filters {
		b = append(appendString(b, p.Filters[i].Filter), p.Filters[i].Options())
	}
	return append(appendHeader(dst, SUBSCRIBE, 2, len(b)), b...)
}

// Unsubscribe is an UNSUBSCRIBE (3.10).
type Unsubscribe struct {
	ID      uint16
	Props   Props
	Filters []string
}

// Type is UNSUBSCRIBE.
func (p *Unsubscribe) Type() Type { return UNSUBSCRIBE }

func decodeUnsubscribe(b []byte, v Version) (*Unsubscribe, error) {
	r := body{b: b}
	p := &Unsubscribe{ID: r.id()}
	p.Props = r.props(v, UNSUBSCRIBE)
	for r.err == nil && len(r.b) > 0 {
		if len(p.Filters) == MaxFilters {
			return nil, &Error{QuotaExceeded, "too many topic filters in one packet"}
		}
		p.Filters = append(p.Filters, r.str())
	}
	if err := r.end(UNSUBSCRIBE); err != nil {
		return nil, err
	}
	if len(p.Filters) == 0 { // [MQTT-3.10.3-2]
		return nil, violation("UNSUBSCRIBE without a topic filter")
	}
	return p, nil
}

// Append writes the packet.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	b := binary.BigEndian.AppendUint16(nil, p.ID)
	if v >= V5 {
		b = p.Props.append(b)
	}
	for _, f := range p.Filters {
		b = appendString(b, f)
	}
	return append(appendHeader(dst, UNSUBSCRIBE, 2, len(b)), b...)
}

// Suback is a SUBACK (3.9): a code per topic filter.
type Suback struct {
	ID    uint16
	Props Props
	Codes []Code
}

// Type is SUBACK.
func (p *Suback) Type() Type { return SUBACK }

func (p *Suback) decode(b []byte, v Version, t Type) error {
	r := body{b: b}
	p.ID = r.id()
	p.Props = r.props(v, t)
	for _, c := range r.b {
		code := Code(c)
		bad := !code.Allowed(t)
		if v < V5 {
			bad = code > GrantedQoS2 && code != UnspecifiedError
		}
		if bad {
			r.fail(violation("reason code is not allowed in " + t.String()))
			break
		}
		p.Codes = append(p.Codes, code)
	}
	r.b = nil
	if r.err == nil && len(p.Codes) == 0 {
		r.fail(violation(t.String() + " without a reason code"))
	}
	return r.end(t)
}

// Append writes the packet.
func (p *Suback) Append(dst []byte, v Version) []byte {
	return p.append(dst, v, SUBACK)
}

func (p *Suback) append(dst []byte, v Version, t Type) []byte {
	b := binary.BigEndian.AppendUint16(nil, p.ID)
	if v >= V5 {
		b = p.Props.append(b)
	}
	for _, c := range p.Codes {
		b = append(b, byte(c))
	}
	return append(appendHeader(dst, t, 0, len(b)), b...)
}

// Unsuback is an UNSUBACK (3.11): a code per topic filter, none before version 5.
type Unsuback struct {
	ID    uint16
	Props Props
	Codes []Code
}

// Type is UNSUBACK.
func (p *Unsuback) Type() Type { return UNSUBACK }

func (p *Unsuback) decode(b []byte, v Version) error {
	if v >= V5 {
		return (*Suback)(p).decode(b, v, UNSUBACK)
	}
	r := body{b: b}
	p.ID = r.id()
	return r.end(UNSUBACK)
}

// Append writes the packet.
func (p *Unsuback) Append(dst []byte, v Version) []byte {
	if v >= V5 {
		return (*Suback)(p).append(dst, v, UNSUBACK)
	}
	return (&Suback{ID: p.ID}).append(dst, v, UNSUBACK)
}
