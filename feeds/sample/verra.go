package sample

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// The registry's own identifiers, which clients must send back.
const (
	standardID = "150000000000001"
	appKey     = "SAMPLE-CLIENT-ID"
)

func (w *World) verraRoutes(mux *http.ServeMux) {
	const reports = VerraPath + "/raas-report-api/es/public"
	mux.HandleFunc("GET "+VerraPath+"/config/environment.config.json", environment)
	mux.HandleFunc("GET "+VerraPath+"/cms-resources/public/standardsByRegistry/VERRA", standards)
	mux.HandleFunc("POST "+reports+"/{resource}/publicReportPageSearch", w.search)
	mux.HandleFunc("POST "+reports+"/{resource}/aggregateResultBySearchFilter", w.aggregate)
}

// environment is the configuration document, pointing back at this server.
func environment(rw http.ResponseWriter, r *http.Request) {
	base := "http://" + r.Host + VerraPath
	reply(rw, http.StatusOK, object{"uris": object{
		"baseUri": base, "raasUri": base + "/br-reg/rest",
		"raasReportPublicManager": base + "/raas-report-api/es/public",
		"raasCreditUri":           base + "/raas-credit-api",
		"cmsResources":            base + "/cms-resources",
		"common": object{"DEFAULT_HEADERS": object{
			"appkey": appKey, "X-XSRF-TOKEN": "sample", "application": "Markit", "Cookie": "XSRF-TOKEN=sample",
		}},
	}})
}

func standards(rw http.ResponseWriter, _ *http.Request) {
	reply(rw, http.StatusOK, []object{
		{"id": standardID, "name": "Verified Carbon Standard", "entityName": nil, "metaData": "VCS", "publicReportExport": object{"PROJECTS": true, "ISSUANCES_LISTINGS": true}},
		{"id": "150000000000002", "name": "Jurisdictional and Nested REDD+ Framework", "entityName": nil, "metaData": "JNR", "publicReportExport": object{"PROJECTS": true}},
	})
}

// admitted checks the registry's headers as the real one does: without them any
// call fails in general, without saying why.
func admitted(rw http.ResponseWriter, r *http.Request) bool {
	h := r.Header
	if h.Get("appkey") == "" {
		reply(rw, http.StatusUnauthorized, object{"message": "Unauthorized"})
		return false
	}
	if h.Get("registry") != "VERRA" || h.Get("standardid") == "" || h.Get("standardacronym") == "" || h.Get("language") == "" {
		reply(rw, http.StatusInternalServerError, object{"status": 500, "error": "Internal Server Error"})
		return false
	}
	return true
}

// entities returns the rows of a ledger in the registry's words; ok is false for
// a ledger that does not exist.
func (w *World) entities(resource string) (rows []object, ok bool) {
	switch resource {
	case "project":
		for _, p := range w.projects {
			if p.shown == nil {
				p.shown = p.entityObject()
			}
			rows = append(rows, p.shown)
		}
	case "issuances":
		rows = objects(w.issuances, (*units).issuance)
	case "retirements":
		rows = objects(w.retirements, (*units).retirement)
	case "cancellations":
		rows = objects(w.cancellations, (*units).cancellation)
	case "holdings":
		for _, p := range w.projects {
			if p.left() > 0 {
				rows = append(rows, (&units{entity: p.entity + 500_000, project: p, quantity: p.left(), at: p.modified}).base())
			}
		}
	default:
		return nil, false
	}
	return rows, true
}

func objects(ledger []*units, form func(*units) object) (rows []object) {
	for _, u := range ledger {
		if u.shown == nil {
			u.shown = form(u)
		}
		rows = append(rows, u.shown)
	}
	return rows
}

// vcsStandard is the registry's number of the standard. It does not fit an int
// of 32 bits.
const vcsStandard int64 = 150_000_000_000_001

// stamp is the registry's form of a time: no zone.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }

func (p *project) entityObject() object {
	o := object{
		"id": strconv.FormatInt(p.entity, 10), "entityId": p.entity, "esUpdatedOn": stamp(p.modified) + ".000000001",
		"standardId": vcsStandard, "standardName": "Verified Carbon Standard", "accountId": nil,
		"accountName": Mark + " Proponent Ltd.", "modifiedDate": stamp(p.modified), "status": p.state.label,
		"publicStateNameEn": p.state.label, "projectId": p.number, "vcsProjectId": strconv.FormatInt(p.number, 10),
		"projectName": p.name, "projectDescription": "Invented description of " + p.name + ".",
		"stateCode": p.state.code, "countryId": "1", "countryName": p.country.name, "regionName": p.country.region,
		"city": "", "stateProvince": "", "latitude": p.lat, "longitude": p.long, "sectoralScope": p.kind.scope,
		"methodologies": p.kind.method, "unitsIssued": nil, "avgAnnualVolVcu": p.estimate, "proponents": p.proponent,
		"projectSubmissionId": strconv.FormatInt(p.number, 10), "website": "", "masterProjectId": nil,
	}
	if p.credited {
		o["creditPeriodStartDate"], o["creditPeriodEndDate"] = stamp(p.created), stamp(p.created.AddDate(10, 0, 0))
	}
	return o
}

func (u *units) base() object {
	vintage := ""
	if u.vintage > 0 {
		vintage = strconv.Itoa(u.vintage)
	}
	return object{
		"id": strconv.FormatInt(u.entity, 10), "entityId": u.entity, "esUpdatedOn": stamp(u.at) + ".000000001",
		"standardId": vcsStandard, "accountName": Mark + " Holder", "modifiedDate": stamp(u.at),
		"projectId": u.project.number, "vcsProjectId": strconv.FormatInt(u.project.number, 10),
		"projectName": u.project.name, "publicProjectId": u.project.number, "publicProjectName": u.project.name,
		"vintage": vintage, "holdingQuantity": json.Number(strconv.FormatInt(u.quantity, 10) + ".0"), "unitType": "VCU",
		"countryName": u.project.country.name, "regionName": u.project.country.region, "methodologies": u.project.kind.method,
	}
}

func (u *units) issuance() object {
	o := u.base()
	o["issueDate"], o["stateCode"], o["stateName"] = stamp(u.since), "ISSUED", "Issued"
	o["serialNo"] = "SAMPLE-" + strconv.FormatInt(u.entity, 10)
	return o
}

// retirement carries an address, as real rows do, for clients to leave out.
func (u *units) retirement() object {
	o := u.base()
	o["retiredDate"], o["stateCode"], o["stateNameEn"] = stamp(u.at), "RETIRED", "Retired"
	o["beneficialOwner"], o["emailNotification"] = Mark+" Airline", "someone@example.org"
	return o
}

func (u *units) cancellation() object {
	o := u.base()
	o["cancellation_date"], o["status"] = stamp(u.at), "Cancelled"
	return o
}

// read decodes a request of at most 64 KiB.
func read(rw http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 64<<10)).Decode(v); err != nil {
		reply(rw, http.StatusBadRequest, object{"status": 400, "error": "Bad Request"})
		return false
	}
	return true
}
