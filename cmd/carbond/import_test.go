package main

import (
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// exportFiles are two exports as people have them.
func exportFiles(t *testing.T) (gs, acr string) {
	t.Helper()
	gs = file(t, "gs.csv", "GSID;Project Name;Status;Country;Estimated Annual Credits\n11234;Invented Stoves;Listed;Kenya;1.200,5\n7;Invented Wind;Listed;;\n")
	acr = file(t, "acr.csv", "Project ID,Project Name,Project Methodology/Protocol,Project Site Country\nACR101,Invented Methane,Landfill Protocol,US\n")
	return gs, acr
}

// TestImportEmbedded imports through the daemon, which alone may write its directory.
func TestImportEmbedded(t *testing.T) {
	gs, acr := exportFiles(t)
	env := append(embedded(t), "CARBOND_FEEDS_ENABLED=none")
	p := start(t, env, "serve")
	run := func(args ...string) string {
		t.Helper()
		return must(t, env, append([]string{"import", "--addr", p.grpc, "--yes"}, args...)...)
	}
	if out := run(gs, acr); !strings.Contains(out, "projects of Gold Standard, 2 rows") || !strings.Contains(out, "inserted 3, updated 0, deleted 0") {
		t.Error(out)
	}
	if out := run(gs, acr); !strings.Contains(out, "would insert 0, update 0, delete 0; 3 are unchanged") {
		t.Errorf("again: %s", out)
	}
	rows := func() string { return must(t, env, "view", "projects", "--addr", p.grpc, "--format", "csv") }
	if out := rows(); !strings.Contains(out, "GS-11234,Invented Stoves,UNDER_VALIDATION,Kenya") || !strings.Contains(out, "ACR101") {
		t.Error(out)
	}
	if _, body := p.get("/v1/projects?registry=Gold+Standard&format=csv"); strings.Count(body, "GS-") != 2 || strings.Contains(body, "ACR101") {
		t.Errorf("of one registry: %s", body)
	}
	if _, body := p.get("/v1/totals?by=registry&format=csv"); !strings.Contains(body, "\r\nACR,1,") || !strings.Contains(body, "\r\nGold Standard,2,") {
		t.Errorf("totals by registry: %s", body)
	}
	if _, body := p.get("/v1/totals?by=methodology&format=csv"); !strings.Contains(body, "\r\nLandfill Protocol,1,") {
		t.Errorf("totals by methodology: %s", body)
	}
	other := file(t, "other.csv", "GSID,Project Name,Status,Country\n7,Another Name,Listed,Peru\n")
	if out := run(other); !strings.Contains(out, "updated 1") || !strings.Contains(rows(), "GS-7,Invented Wind,UNDER_VALIDATION,Peru") {
		t.Errorf("filled in: %s%s", out, rows())
	}
	if out := run("--overwrite", "--replace", other); !strings.Contains(out, "updated 1, deleted 1") {
		t.Errorf("replaced: %s", out)
	}
	if out := rows(); strings.Contains(out, "GS-11234") || !strings.Contains(out, "GS-7,Another Name") || !strings.Contains(out, "ACR101") {
		t.Error(out)
	}
	units := file(t, "units.csv", "GSID,Vintage,Quantity,Credit Status\n7,2020,10,Issued\n7,2020,5,Retired\n7,2021,1,Issued\n")
	if out := run(units); !strings.Contains(out, "1 projects and 2 vintages: would insert 2, update 1") {
		t.Errorf("units: %s", out)
	}
	vintages := func(want string) {
		t.Helper()
		if _, body := p.get("/v1/projects/GS-7"); !strings.Contains(body, `"vintages":[`+want+`]`) {
			t.Errorf("%s, want %s", body, want)
		}
	}
	vintages(`{"vintage":2020,"issued":15,"retired":5,"cancelled":0,"available":10},{"vintage":2021,"issued":1,"retired":0,"cancelled":0,"available":1}`)
	fewer := file(t, "fewer.csv", "GSID,Vintage,Quantity,Credit Status\n7,2020,20,Issued\n")
	run(fewer)
	vintages(`{"vintage":2020,"issued":15,"retired":5,"cancelled":0,"available":10},{"vintage":2021,"issued":1,"retired":0,"cancelled":0,"available":1}`)
	if out := run("--overwrite", "--replace", fewer); !strings.Contains(out, "deleted 1") {
		t.Errorf("replaced: %s", out)
	}
	vintages(`{"vintage":2020,"issued":20,"retired":0,"cancelled":0,"available":20}`)
	if _, body := p.get("/projects/GS-7"); !strings.Contains(body, "Supply per vintage") {
		t.Error(body)
	}
	run("--replace", file(t, "last.csv", "GSID,Project Name,Status\n8,Last,Listed\n"))
	if out := must(t, nil, "consume", "carbon.public.vintages", "--addr", p.grpc, "--from", "earliest", "--format", "row"); strings.Count(out, `"op":"d"`) != 2 {
		t.Errorf("the vintages of a project that was replaced are left: %s", out)
	}
	bad := file(t, "bad.csv", "a,b\n1,2\n")
	if code, _, errs := command(t, env, "import", "--addr", p.grpc, acr, bad); code != 1 || !strings.Contains(errs, "bad.csv") || !strings.Contains(errs, "--map") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := command(t, env, "import", "--map", "a=nothing", bad); code != 64 || !strings.Contains(errs, "nothing") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestImportPostgres imports by SQL, with no daemon.
func TestImportPostgres(t *testing.T) {
	gs, acr := exportFiles(t)
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_CONFIG=" + emptyConfig(t), "CARBOND_POSTGRES_URL=" + url}
	must(t, env, "migrate")
	pgtest.Exec(t, url, "INSERT INTO verra (project_id, project_name, country) VALUES ('GS-11234', 'mine', NULL), ('GS-1', 'of before', NULL)")
	if out := must(t, env, "import", gs, acr); !strings.Contains(out, "inserted 2, updated 1, deleted 0") {
		t.Error(out)
	}
	if out := must(t, env, "import", "--replace", "--yes", gs); !strings.Contains(out, "would insert 0, update 0, delete 0") {
		t.Errorf("a row of nobody's registry is gone: %s", out)
	}
	units := file(t, "units.csv", "GSID,Vintage,Quantity,Credit Status\n7,2020,10,Issued\n7,2020,5,Cancelled\n")
	if out := must(t, env, "import", units); !strings.Contains(out, "1 projects and 1 vintages: would insert 1, update 1") {
		t.Error(out)
	}
	if got := pgtest.Text(t, url, "SELECT concat_ws('|', project_id, vintage, issued, retired, cancelled, available, updated_at IS NOT NULL) FROM vintages")[0][0]; got != "GS-7|2020|15|0|5|10|t" {
		t.Errorf("vintages %s", got)
	}
	pgtest.Exec(t, url, "ALTER TABLE vintages RENAME TO mine", "CREATE TABLE vintages (wine text)")
	if out := must(t, env, "import", units); !strings.Contains(out, "1 vintages are left out: read table public.vintages: it is not there, or not as carbond makes it") {
		t.Error(out)
	}
	pgtest.Exec(t, url, "UPDATE verra SET vintage = NULL, supply = NULL")
	got := pgtest.Text(t, url, "SELECT string_agg(concat_ws('|', project_id, project_name, country, registry, annual_estimate), ' ' ORDER BY project_id) FROM verra")[0][0]
	if want := "ACR101|Invented Methane|United States of America|ACR GS-1|of before GS-11234|mine|Kenya|Gold Standard|1200.5 GS-7|Invented Wind|Gold Standard"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
