package registry_test

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"carbond/feeds/registry"
	"carbond/store/change"
)

// Header rows of the registries' exports.
const (
	verraProjects = "ID,Name,Proponent,Project Type,AFOLU Activities,Methodology,Status,Country/Area,Estimated Annual Emission Reductions,Region,Project Registration Date,Crediting Period Start Date,Crediting Period End Date"
	verraUnits    = "Issuance Date,Sustainable Development Goals,Vintage Start,Vintage End,ID,Name,Country/Area,Project Type,Methodology,Total Vintage Quantity,Quantity Issued,Serial Number,Additional Certifications,Retirement/Cancellation Date,Retirement Beneficiary,Retirement Reason,Retirement Details"
	gsProjects    = "GSID,Project Name,Project Developer Name,Status,Sustainable Development Goals,Project Type,Country,Description,Estimated Annual Credits,Methodology,Size,Programme of Activities,POA GSID"
	gsUnits       = "Monitoring Period Start,Monitoring Period End,Project Name,GSID,Country,Product Type,Vintage,Quantity,Serial Number,Issuance Date,Retirement Date,Credit Status,Note,Using Entity"
	acrProjects   = "Project ID,Project Name,Project Developer,Project Type,Project Methodology/Protocol,Methodology Version,Voluntary Status,Project Site Location,Project Site State,Project Site Country,Current Crediting Period Start Date,Current Crediting Period End Date,Project Website"
	acrIssued     = "Date Issued (GMT),Project ID,Project Name,Project Type,Vintage,Total Credits Issued,Project Site Country"
	acrRetired    = "Vintage,Credit Serial Numbers,Quantity of Credits,Status Effective (GMT),Project ID,Project Name,Retirement Reason,Account Holder"
	acrCancelled  = "Vintage,Credit Serial Numbers,Quantity of Credits,Status Effective (GMT),Project ID,Project Name,Cancellation Type"
	carProjects   = "Project ID,Cooperative/ Aggregate ID,Project Developer,Project Name,Project Owner,Project Type,Status,ARB Eligible,Project Listed Date,Project Registered Date,Project Site Location,Project Site State,Project Site Country,Project Website"
	carIssued     = "Date Issued,Project ID,Project Name,Vintage,Total Offset Credits Issued,Project Site Country"
	carRetired    = "Vintage,Offset Credit Serial Numbers,Quantity of Offset Credits,Status Effective,Project ID,Project Name,Retirement Reason"
	carCancelled  = "Vintage,Offset Credit Serial Numbers,Quantity of Offset Credits,Status Effective,Project ID,Project Name"
	puroProjects  = "Name,ID Number,Country,Method"
	puroLater     = "projectId,name,supplierName,methodologyCode,country,creditingPeriodStart,creditingPeriodEnd"
	puroIssued    = "transactionId,projectId,projectName,volume,issuanceDate,methodologyName,methodologyCode,owner,vintage,creditType"
	puroRetired   = "transactionId,projectId,projectName,volume,completedOn,methodologyName,methodologyCode,owner,beneficiary,usePurpose,vintage,creditType"
)

// read reads files into one set and returns its rows, one text for each, and what was
// left out.
func read(t testing.TB, opt registry.Options, files ...string) (rows []string, left []string) {
	t.Helper()
	set := registry.NewSet(opt)
	for _, f := range files {
		found, err := set.Read(strings.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		for _, why := range slices.Sorted(maps.Keys(found.LeftOut)) {
			left = append(left, fmt.Sprintf("%d %s", found.LeftOut[why], why))
		}
	}
	return show(set.Rows()), left
}

func show(list []change.Row) (rows []string) {
	for _, r := range list {
		var b strings.Builder
		for i, v := range r.All() {
			if v.Kind == change.Text {
				fmt.Fprintf(&b, "%s=%s ", registry.Fields()[i], v.Text)
			}
		}
		rows = append(rows, strings.TrimSpace(b.String()))
	}
	return rows
}

func file(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestFormats(t *testing.T) {
	for name, tt := range map[string]struct {
		opt   registry.Options
		files []string
		want  []string
		left  []string
	}{
		"Verra projects": {files: []string{file(verraProjects,
			`934,"Invented ""Forest"", A",Example Ltd.,Agriculture Forestry and Other Land Use,REDD,VM0009,Registered,"Congo, The Democratic Republic of the","5,543,912",Africa,2011-01-01,2011-03-14,2041-03-13`,
			`VCS-12,Invented Wind,,,,,On Hold,Viet Nam,,,,,`)}, want: []string{
			"project_id=VCS-12 project_name=Invented Wind registry_status=ON_HOLD country=Viet Nam registry=Verra",
			`project_id=VCS-934 project_name=Invented "Forest", A registry_status=ACTIVE country=Democratic Republic of the Congo registry=Verra methodology=VM0009 project_type=Agriculture Forestry and Other Land Use region=Africa proponent=Example Ltd. crediting_start=2011-03-14 crediting_end=2041-03-13 annual_estimate=5543912`,
		}},
		"Verra units": {files: []string{file(verraUnits,
			`14/11/2023,,01/01/2019,31/12/2019,934,n,c,t,m,"1,000","600",s,,,,,`,
			`14/11/2023,,01/01/2019,31/12/2019,934,n,c,t,m,"1,000","400",s,,20/11/2023,Somebody,,`,
			`14/11/2024,,01/01/2020,31/12/2020,934,n,c,t,m,50,50,s,,,,,`)}, want: []string{"project_id=VCS-934 vintage=2020 supply=650 registry=Verra"}},
		"Gold Standard": {files: []string{
			file(gsProjects, `11234,Invented Stoves,Example GmbH,Gold Standard Certified Project,SDG 1,Energy Efficiency - Domestic,Kenya,Stoves.,1200,TPDDTEC,Small,,`),
			file(gsUnits, `,,n,11234,Kenya,VER,2021,100,s,2022-01-01,,Issued,,`, `,,n,GS11234,Kenya,VER,2022,40,s,2022-01-01,2023-01-01,Retired,,`),
		}, want: []string{"project_id=GS-11234 project_name=Invented Stoves project_summary=Stoves. registry_status=ACTIVE country=Kenya vintage=2022 supply=100 registry=Gold Standard methodology=TPDDTEC project_type=Energy Efficiency - Domestic proponent=Example GmbH annual_estimate=1200"}},
		"ACR": {files: []string{
			file(acrProjects, `ACR101,Invented Methane,Example Inc.,Landfill Gas,Landfill Protocol,1.0,Completed,Somewhere,Ohio,US,01/31/2015,01/30/2025,https://example.org/101`),
			file(acrIssued, `01/01/2016,ACR101,n,t,2015,"1,000",US`), file(acrRetired, `2015,s,300,01/01/2017,ACR101,n,Environmental,x`), file(acrCancelled, `2015,s,1,01/01/2017,ACR101,n,Voluntary`),
		}, want: []string{"project_id=ACR101 project_name=Invented Methane project_link=https://example.org/101 registry_status=ACTIVE country=United States of America vintage=2015 supply=699 registry=ACR methodology=Landfill Protocol project_type=Landfill Gas region=Ohio proponent=Example Inc. crediting_start=2015-01-31 crediting_end=2025-01-30"}},
		"CAR, cancelled units are missing": {files: []string{
			file(carProjects, `CAR1001,,Example LLC,Invented Woods,,Improved Forest Management,Listed,No,,,Here,Maine,US,`),
			file(carIssued, `01/01/2016,CAR1001,n,2015,1000,US`), file(carRetired, `2015,s,300,01/01/2017,CAR1001,n,Environmental`),
		}, want: []string{"project_id=CAR1001 project_name=Invented Woods registry_status=UNDER_VALIDATION country=United States of America vintage=2015 registry=CAR project_type=Improved Forest Management region=Maine proponent=Example LLC"}},
		"CAR, more gone than issued": {files: []string{
			file(carIssued, `01/01/2016,CAR1001,n,2015,10,US`), file(carRetired, `2015,s,300,01/01/2017,CAR1001,n,E`), file(carCancelled, `2015,s,0,01/01/2017,CAR1001,n`),
		}, want: []string{"project_id=CAR1001 vintage=2015 registry=CAR"}},
		"Puro": {
			files: []string{file(puroProjects, "Invented Biochar,302684,Finland,Biochar")},
			want:  []string{"project_id=PURO-302684 project_name=Invented Biochar country=Finland registry=Puro methodology=Biochar"},
		},
		"Puro, of 2024": {
			files: []string{file(puroLater, "302684,Invented Biochar,Example Oy,C03000000,Finland,2023-01-01,2027-12-31")},
			want:  []string{"project_id=PURO-302684 project_name=Invented Biochar country=Finland registry=Puro methodology=C03000000 proponent=Example Oy crediting_start=2023-01-01 crediting_end=2027-12-31"},
		},
		"header on a later row, spaces, lower case": {
			files: []string{file("Report of yesterday", "", " gsid , PROJECT  NAME,status", "7,A,Listed")},
			want:  []string{"project_id=GS-7 project_name=A registry_status=UNDER_VALIDATION registry=Gold Standard"},
		},
		"by a map": {
			opt:   registry.Options{Map: map[string]string{"Project No.": "project_id", "Land": "country", "Breite": "latitude"}, Registry: "gold standard"},
			files: []string{file("Project No.;Land;Breite;Other", "7;Kenia;-1,5;x")},
			want:  []string{"project_id=GS-7 country=Kenia registry=Gold Standard latitude=-1.5"},
		},
		"what cannot be read": {
			files: []string{file(verraProjects, `934,A,,,,,Registered,,many,,,31.04.2020,soon`, `,B,,,,,,,,,,,`, `,,,,,,,,,,,,`)},
			want:  []string{"project_id=VCS-934 project_name=A registry_status=ACTIVE registry=Verra"},
			left:  []string{"1 annual_estimate that is no number", "1 crediting_end that is no date", "1 crediting_start that is no date", "1 rows without an id of a project"},
		},
		"dates that could be either": {
			files: []string{file(verraProjects, `1,A,,,,,,,,,,03/04/2020,05/05/2021`)},
			want:  []string{"project_id=VCS-1 project_name=A registry=Verra crediting_end=2021-05-05"},
			left:  []string{"1 crediting_start 3/4/2020, day or month first"},
		},
		"a date tells the order of the others": {
			files: []string{file(verraProjects, `1,A,,,,,,,,,,03/04/2020,`, `2,B,,,,,,,,,,,04/25/2020`)},
			want:  []string{"project_id=VCS-1 project_name=A registry=Verra crediting_start=2020-03-04", "project_id=VCS-2 project_name=B registry=Verra crediting_end=2020-04-25"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, left := read(t, tt.opt, tt.files...)
			for i := range got { // "" status of an empty cell is none
				got[i] = strings.ReplaceAll(got[i], "registry_status= ", "")
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if !slices.Equal(left, tt.left) {
				t.Errorf("left out %q, want %q", left, tt.left)
			}
		})
	}
}

// TestVintages adds up files of units by vintage.
func TestVintages(t *testing.T) {
	acr := []string{
		file(acrIssued, `d,ACR101,n,t,2015,"1,000",US`, `d,ACR101,n,t,2015,1,US`, `d,ACR101,n,t,2016,7,US`),
		file(acrRetired, `2015,s,300,d,ACR101,n,Environmental,x`), file(acrCancelled, `2015,s,0.5,d,ACR101,n,Voluntary`, `2016,s,7,d,ACR101,n,Voluntary`),
	}
	for name, tt := range map[string]struct {
		files []string
		want  []string
	}{
		"all three files": {acr, []string{"ACR101 2015: 1001 - 300 - 0.5 = 700.5", "ACR101 2016: 7 - 0 - 7 = 0"}},
		"one is missing":  {acr[:2], []string{"ACR101 2015: 1001 - 300 - ? = ?", "ACR101 2016: 7 - 0 - ? = ?"}},
		"no issued units": {acr[1:2], []string{"ACR101 2015: ? - 300 - ? = ?"}},
		"CAR": {
			[]string{file(carIssued, `d,CAR1001,n,2015,10,US`), file(carRetired, `2015,s,300,d,CAR1001,n,E`), file(carCancelled, `2015,s,0,d,CAR1001,n`)},
			[]string{"CAR1001 2015: 10 - 300 - 0 = ?"},
		},
		"Verra does not tell retired from cancelled": {
			[]string{file(verraUnits, `d,,01/01/2019,31/12/2019,934,n,c,t,m,9,6,s,,,,,`, `d,,01/01/2019,31/12/2019,934,n,c,t,m,9,3,s,,20/11/2023,,,`, `d,,01/01/2020,31/12/2020,935,n,c,t,m,9,9,s,,,,,`)},
			[]string{"VCS-934 2019: 9 - 3 - ? = 6", "VCS-935 2020: 9 - 0 - 0 = 9"},
		},
		"Gold Standard": {
			[]string{file(gsUnits, `,,n,7,Kenya,VER,2021,100,s,,,Issued,,`, `,,n,7,Kenya,VER,2021,40,s,,,Retired,,`, `,,n,7,Kenya,VER,2021,2,s,,,Cancelled,,`)},
			[]string{"GS-7 2021: 142 - 40 - 2 = 100"},
		},
		"Puro": {
			[]string{file(puroIssued, "a,302684,n,150,2024-01-02T10:00:00Z,Biochar,C03,Example Oy,2023,CORC200+"), file(puroRetired, "b,302684,n,20,2024-03-02,Biochar,C03,Somebody,Else,Use,2023,CORC200+")},
			[]string{"PURO-302684 2023: 150 - 20 - ? = ?"},
		},
		"a row without a quantity":   {[]string{file(gsUnits, `,,n,7,Kenya,VER,2021,many,s,,,Issued,,`, `,,n,7,Kenya,VER,2021,40,s,,,Issued,,`, `,,n,8,Kenya,VER,2021,1,s,,,Issued,,`)}, []string{"GS-8 2021: 1 - 0 - 0 = 1"}},
		"a row without a vintage":    {[]string{file(gsUnits, `,,n,7,Kenya,VER,,2,s,,,Issued,,`, `,,n,7,Kenya,VER,2021,40,s,,,Issued,,`)}, nil},
		"projects without any units": {[]string{file(puroProjects, "n,1,Finland,Biochar")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			set := registry.NewSet(registry.Options{})
			for _, f := range tt.files {
				if _, err := set.Read(strings.NewReader(f)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, r := range set.Vintages() {
				n := make([]string, r.Len())
				for i, v := range r.All() {
					if n[i] = "?"; v.Kind == change.Text {
						n[i] = v.Text
					}
				}
				got = append(got, fmt.Sprintf("%s %s: %s - %s - %s = %s", n[0], n[1], n[2], n[3], n[4], n[5]))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestEncodings reads one file in every encoding and with every separator.
func TestEncodings(t *testing.T) {
	text := file("GSID,Project Name,Status", `7,"Forêt, Ö",Listed`)
	want := []string{"project_id=GS-7 project_name=Forêt, Ö registry_status=UNDER_VALIDATION registry=Gold Standard"}
	for name, enc := range map[string]encoding.Encoding{
		"UTF-8": encoding.Nop, "UTF-8 with a mark": unicode.UTF8BOM, "Windows-1252": charmap.Windows1252,
		"UTF-16 with a mark": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "UTF-16, other order": unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
		"UTF-16 without": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), "UTF-16 without, other order": unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	} {
		for _, sep := range []string{",", ";", "\t", "|"} {
			for _, end := range []string{"\n", "\r\n"} {
				s := strings.NewReplacer(",", sep, "Forêt, Ö", "Forêt, Ö", "\n", end).Replace(text)
				b, err := enc.NewEncoder().String(s)
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := read(t, registry.Options{}, b); !slices.Equal(got, want) {
					t.Errorf("%s, separator %q: %q", name, sep, got)
				}
			}
		}
	}
}

// TestNumbers reads separators of thousands and decimals of several countries.
func TestNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"1,454,054": "1454054", "1.454.054": "1454054", "1 454 054": "1454054", "1\u00a0454": "1454", "1'454": "1454",
		"1,454": "1454", "12,5": "12.5", "1.5": "1.5", "1,454.5": "1454.5", "1.454,5": "1454.5", "0": "0", "1e3": "1000",
		"-1": "", "many": "", "0x10": "", "NaN": "", "Inf": "",
	} {
		rows, _ := read(t, registry.Options{}, file("GSID;Project Name;Status;Estimated Annual Credits", "7;A;Listed;"+in))
		_, got, _ := strings.Cut(rows[0], "annual_estimate=")
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// TestUnknown: who cannot be helped is told what the file has, and what is near.
func TestUnknown(t *testing.T) {
	_, err := registry.NewSet(registry.Options{}).Read(strings.NewReader(file("GSIDs,Project Nme,State", "1,2,3")))
	if err == nil || !strings.Contains(err.Error(), `"gsids", perhaps "gsid"`) || !strings.Contains(err.Error(), `"project nme", perhaps "project name"`) || !strings.Contains(err.Error(), "--map") {
		t.Errorf("%v", err)
	}
	if err := (registry.Options{Map: map[string]string{"x": "id"}}).CheckMap(); err == nil {
		t.Error("id is no column that a file can fill")
	}
}

// many is a file of units without being one.
type many struct {
	n    int
	rest string
}

func (m *many) Read(p []byte) (int, error) {
	if m.rest == "" {
		if m.n == 0 {
			return 0, io.EOF
		}
		m.n--
		m.rest = fmt.Sprintf("2020-01-01,,2019-01-01,2019-12-31,%d,n,c,t,m,10,10,%d,,,,,\n", m.n%500+1, m.n)
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// TestManyUnits reads a million units in memory that does not grow with them.
func TestManyUnits(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	set := registry.NewSet(registry.Options{})
	if _, err := set.Read(io.MultiReader(strings.NewReader(verraUnits+"\n"), &many{n: n})); err != nil {
		t.Fatal(err)
	}
	rows := show(set.Rows())
	if len(rows) != 500 || rows[0] != fmt.Sprintf("project_id=VCS-1 vintage=2019 supply=%d registry=Verra", n/500*10) {
		t.Errorf("%d rows, the first %s", len(rows), rows[0])
	}
	if v := set.Vintages(); len(v) != 500 || v[0].Value(2).Text != fmt.Sprint(n/500*10) {
		t.Errorf("%d vintages, the first %q", len(v), v[0])
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 32<<20 {
		t.Errorf("%d MB are held", m.HeapAlloc>>20)
	}
	runtime.KeepAlive(set)
}

// FuzzRead: whatever a file holds, rows have ids and nothing is out of its type.
func FuzzRead(f *testing.F) {
	for _, h := range []string{verraProjects, verraUnits, gsProjects, gsUnits, acrProjects, acrIssued, acrRetired, carProjects, carIssued, puroProjects, puroIssued, puroRetired} {
		f.Add([]byte(file(h, strings.Repeat("7,", strings.Count(h, ","))+"1")))
		f.Add([]byte(file("x", strings.ReplaceAll(h, ",", ";"), strings.Repeat("2020-01-01;", strings.Count(h, ",")))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set := registry.NewSet(registry.Options{})
		if _, err := set.Read(strings.NewReader(string(b))); err != nil {
			return
		}
		for _, r := range set.Rows() {
			if r.Check() != nil || r.Value(0).Text == "" {
				t.Fatalf("row %q", r)
			}
		}
		for _, r := range set.Vintages() {
			if r.Check() != nil || r.Value(0).Text == "" || r.Value(1).Text < "1990" {
				t.Fatalf("vintage %q", r)
			}
		}
	})
}
