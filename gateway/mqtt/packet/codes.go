package packet

import "fmt"

// Code is a reason code of MQTT 5 (2.4). Codes from 0x80 on are failures.
type Code uint8

// The reason codes.
const (
	Success                     Code = 0x00
	GrantedQoS1                 Code = 0x01
	GrantedQoS2                 Code = 0x02
	DisconnectWithWill          Code = 0x04
	NoMatchingSubscribers       Code = 0x10
	NoSubscriptionExisted       Code = 0x11
	ContinueAuthentication      Code = 0x18
	ReAuthenticate              Code = 0x19
	UnspecifiedError            Code = 0x80
	MalformedPacket             Code = 0x81
	ProtocolError               Code = 0x82
	ImplementationSpecific      Code = 0x83
	UnsupportedProtocolVersion  Code = 0x84
	ClientIDNotValid            Code = 0x85
	BadUserNameOrPassword       Code = 0x86
	NotAuthorized               Code = 0x87
	ServerUnavailable           Code = 0x88
	ServerBusy                  Code = 0x89
	Banned                      Code = 0x8a
	ServerShuttingDown          Code = 0x8b
	BadAuthenticationMethod     Code = 0x8c
	KeepAliveTimeout            Code = 0x8d
	SessionTakenOver            Code = 0x8e
	TopicFilterInvalid          Code = 0x8f
	TopicNameInvalid            Code = 0x90
	PacketIDInUse               Code = 0x91
	PacketIDNotFound            Code = 0x92
	ReceiveMaximumExceeded      Code = 0x93
	TopicAliasInvalid           Code = 0x94
	PacketTooLarge              Code = 0x95
	MessageRateTooHigh          Code = 0x96
	QuotaExceeded               Code = 0x97
	AdministrativeAction        Code = 0x98
	PayloadFormatInvalid        Code = 0x99
	RetainNotSupported          Code = 0x9a
	QoSNotSupported             Code = 0x9b
	UseAnotherServer            Code = 0x9c
	ServerMoved                 Code = 0x9d
	SharedNotSupported          Code = 0x9e
	ConnectionRateExceeded      Code = 0x9f
	MaximumConnectTime          Code = 0xa0
	SubscriptionIDsNotSupported Code = 0xa1
	WildcardsNotSupported       Code = 0xa2
)

var codeNames = map[Code]string{
	Success: "success", GrantedQoS1: "granted QoS 1", GrantedQoS2: "granted QoS 2",
	DisconnectWithWill: "disconnect with will message", NoMatchingSubscribers: "no matching subscribers",
	NoSubscriptionExisted: "no subscription existed", ContinueAuthentication: "continue authentication",
	ReAuthenticate: "re-authenticate", UnspecifiedError: "unspecified error", MalformedPacket: "malformed packet",
	ProtocolError: "protocol error", ImplementationSpecific: "implementation specific error",
	UnsupportedProtocolVersion: "unsupported protocol version", ClientIDNotValid: "client identifier not valid",
	BadUserNameOrPassword: "bad user name or password", NotAuthorized: "not authorized",
	ServerUnavailable: "server unavailable", ServerBusy: "server busy", Banned: "banned",
	ServerShuttingDown: "server shutting down", BadAuthenticationMethod: "bad authentication method",
	KeepAliveTimeout: "keep alive timeout", SessionTakenOver: "session taken over",
	TopicFilterInvalid: "topic filter invalid", TopicNameInvalid: "topic name invalid",
	PacketIDInUse: "packet identifier in use", PacketIDNotFound: "packet identifier not found",
	ReceiveMaximumExceeded: "receive maximum exceeded", TopicAliasInvalid: "topic alias invalid",
	PacketTooLarge: "packet too large", MessageRateTooHigh: "message rate too high", QuotaExceeded: "quota exceeded",
	AdministrativeAction: "administrative action", PayloadFormatInvalid: "payload format invalid",
	RetainNotSupported: "retain not supported", QoSNotSupported: "QoS not supported",
	UseAnotherServer: "use another server", ServerMoved: "server moved",
	SharedNotSupported: "shared subscriptions not supported", ConnectionRateExceeded: "connection rate exceeded",
	MaximumConnectTime:          "maximum connect time",
	SubscriptionIDsNotSupported: "subscription identifiers not supported",
	WildcardsNotSupported:       "wildcard subscriptions not supported",
}

// String names the code.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("reason code 0x%02x", uint8(c))
}

// Failed tells whether the code is a failure.
func (c Code) Failed() bool { return c >= 0x80 }

// Connect3 gives the CONNACK return code of MQTT 3.1.1 (3.2.2.3); ok is false
// where there is none, and the connection is closed without a CONNACK.
func (c Code) Connect3() (code byte, ok bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIDNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, UseAnotherServer, ServerMoved:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5, true
	}
	return 0, false
}

// codesOf lists the reason codes that each packet may carry (table 2-6).
var codesOf = map[Type][]Code{
	CONNACK:  {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f},
	PUBACK:   {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREC:   {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREL:   {0x00, 0x92},
	PUBCOMP:  {0x00, 0x92},
	SUBACK:   {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
	UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
	DISCONNECT: {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
		0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
	AUTH: {0x00, 0x18, 0x19},
}

// Allowed tells whether a packet of type t may carry the code.
func (c Code) Allowed(t Type) bool {
	for _, k := range codesOf[t] {
		if k == c {
			return true
		}
	}
	return false
}

// Error tells why bytes are not a packet, and the code to answer with.
type Error struct {
	Code Code
	Msg  string
}

// Error gives "malformed packet: what is wrong".
func (e *Error) Error() string { return e.Code.String() + ": " + e.Msg }

func malformed(msg string) error { return &Error{MalformedPacket, msg} }
func violation(msg string) error { return &Error{ProtocolError, msg} }
