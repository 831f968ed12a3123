package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
)

// Advice says what to do about a failed poll, "" for nothing to be done. It
// follows what failed: an error says what happened, and is not made longer by
// what everybody knows of its kind.
func Advice(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Advice != "" {
		return e.Advice
	}
	if said := connectAdvice(err); said != "" {
		return said
	}
	switch KindOf(err) {
	case KindNetwork:
		return "check this machine's connection, and a firewall or proxy on the way"
	case KindTimeout:
		return "it is too slow for the moment, or something on the way swallows packets; carbond tries again"
	case KindRedirect:
		return "the address may have moved: configure where it leads to in a browser"
	case KindHTTPStatus:
		return statusAdvice(e)
	case KindAuth:
		return "the upstream refuses this program or its key: check the key, and what the upstream allows"
	case KindNotFound, KindGone:
		return "check the address in the configuration"
	case KindRateLimited:
		return "the upstream wants fewer requests: carbond waits as long as it says; a longer interval avoids it"
	case KindPaused:
		return "it is asked again when the pause is over"
	case KindHTML:
		return "a web page is there in place of data: a consent or login page, a proxy of this network, or an address that has moved; open it in a browser"
	case KindNotJSON, KindInvalid:
		return "the address may be another one's, or the upstream has changed its form: check it in a browser; a newer carbond may read it"
	case KindTruncated:
		return "the connection broke in the middle; carbond tries again"
	case KindTooLarge:
		return "the answer is larger than any of its kind: check that the address is that of a feed"
	case KindShrunk:
		return "the rows that are there stay until the upstream is whole again"
	case KindEmpty:
		return "check the names that are asked for in the configuration, such as tickers"
	case KindWrite:
		return "the upstream is fine: look at Postgres, or at the disk"
	}
	return ""
}

// connectAdvice is about a connection that was not made.
func connectAdvice(err error) string {
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &dns):
		return "check the name, and the DNS of this machine"
	case errors.As(err, &unknown):
		return "install the authority's certificate on this machine"
	case errors.As(err, &name):
		return "the address names another host than the certificate"
	case errors.As(err, &invalid):
		return "check this machine's clock; else the certificate is the upstream's to renew"
	case errors.As(err, &plain):
		return "the port speaks no TLS: the address may want http://"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check host and port"
	}
	return ""
}

func statusAdvice(e *Error) string {
	switch {
	case e.Status >= 502 && e.Status <= 504:
		return "the upstream is down for the moment; carbond tries again"
	case e.Status >= 500:
		return "the fault is the upstream's; carbond tries again"
	}
	return "the upstream refuses the request: check the address; its interface may have changed"
}
