package replicate_test

import (
	"strings"
	"testing"

	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// TestURLOfLibpq connects with every parameter of libpq that pgconn would hand on
// to the server, as ordinary client and as replication client.
func TestURLOfLibpq(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	opt := options(url + sep + "keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3&gssencmode=prefer&" +
		"fallback_application_name=desk&sslcompression=0&ssl_min_protocol_version=TLSv1.2&load_balance_hosts=disable&replication=database&" +
		"tcp_user_timeout=10000&client_encoding=auto&connect_timeout=5&channel_binding=prefer&target_session_attrs=any")
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	r := run(t, newSink(), opt)
	pgtest.Exec(t, url, "INSERT INTO news(guid) VALUES ('a')")
	r.level()
	if got := pgtest.Text(t, url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'desk' AND datname = current_database()"); got[0][0] == "0" {
		t.Errorf("no connection has the fallback's name")
	}
	r.stop()
}
