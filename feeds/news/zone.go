package news

import (
	"strings"
	"time"
)

// zoneNames are the abbreviations that feeds use, as seconds east of Greenwich in
// quarters of an hour. Of several zones with one name the first in this list is
// meant:
//
//	AMT  Amazon (not Armenia)          AST  Atlantic (not Arabia)
//	BST  Britain (not Bangladesh)      CDT  North America (not Cuba)
//	CST  North America (not China)     ECT  Ecuador (not the Caribbean)
//	EST  North America (not Australia) GST  the Gulf (not South Georgia)
//	IST  India (not Israel, Ireland)   PST  North America (not the Philippines)
//	SST  Samoa (not Singapore)         WST  Western Australia (not Samoa)
//
// ET, CT, MT and PT follow the calendar of New York, Chicago, Denver and Los
// Angeles.
var zoneNames = map[string]int{
	"Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0, "UCT": 0, "EGST": 0,
	"BST": 4, "WEST": 4, "CET": 4, "MEZ": 4, "MET": 4, "WAT": 4, "IRISHSTANDARDTIME": 4,
	"CEST": 8, "MESZ": 8, "MEST": 8, "EET": 8, "CAT": 8, "SAST": 8, "KALT": 8, "WAST": 8,
	"EEST": 12, "MSK": 12, "EAT": 12, "TRT": 12, "IDT": 12, "AST3": 12, "FET": 12,
	"IRST": 14, "IRDT": 18, "GST": 16, "SAMT": 16, "GET": 16, "AZT": 16, "MSD": 16, "MUT": 16, "RET": 16, "SCT": 16,
	"AFT": 18, "PKT": 20, "UZT": 20, "YEKT": 20, "TJT": 20, "TMT": 20, "MVT": 20, "ALMT": 20, "QYZT": 20,
	"IST": 22, "SLST": 22, "LKT": 22, "NPT": 23, "BDT": 24, "BTT": 24, "KGT": 24, "OMST": 24,
	"MMT": 26, "ICT": 28, "WIB": 28, "KRAT": 28, "NOVT": 28, "HOVT": 28,
	"HKT": 32, "SGT": 32, "MYT": 32, "PHT": 32, "PHST": 32, "WITA": 32, "AWST": 32, "WST": 32, "IRKT": 32, "ULAT": 32, "BNT": 32,
	"JST": 36, "KST": 36, "WIT": 36, "YAKT": 36, "TLT": 36, "PWT": 36,
	"ACST": 38, "AEST": 40, "CHST": 40, "VLAT": 40, "PGT": 40, "ACDT": 42, "AEDT": 44, "MAGT": 44, "SBT": 44, "NCT": 44, "LHST": 42, "SAKT": 44,
	"NZST": 48, "FJT": 48, "PETT": 48, "MHT": 48, "TVT": 48, "WAKT": 48, "NZDT": 52, "TOT": 52, "PHOT": 52, "CHAST": 51, "CHADT": 55, "LINT": 56,
	"AZOT": -4, "CVT": -4, "AZOST": 0, "FNT": -8, "BRST": -8, "UYST": -8, "PMDT": -8, "WGST": -8, "NDT": -10,
	"BRT": -12, "ART": -12, "UYT": -12, "CLST": -12, "ADT": -12, "GFT": -12, "PYST": -12, "FKST": -12, "SRT": -12, "WGT": -12, "PMST": -12, "ROTT": -12,
	"NST": -14, "AST": -16, "EDT": -16, "CLT": -16, "BOT": -16, "VET": -16, "AMT": -16, "PYT": -16, "GYT": -16,
	"EST": -20, "CDT": -20, "COT": -20, "PET": -20, "ECT": -20, "ACT": -20,
	"CST": -24, "MDT": -24, "GALT": -24, "MST": -28, "PDT": -28, "PST": -32, "AKDT": -32, "AKST": -36, "HDT": -36, "GAMT": -36,
	"MART": -38, "HST": -40, "HAST": -40, "TAHT": -40, "CKT": -40, "SST": -44, "NUT": -44,
}

// generalZones are names that mean winter or summer time as the date has it.
var generalZones = map[string]string{
	"ET": "America/New_York", "CT": "America/Chicago", "MT": "America/Denver", "PT": "America/Los_Angeles",
	"EPT": "America/New_York", "CPT": "America/Chicago", "MPT": "America/Denver", "PPT": "America/Los_Angeles",
	"EASTERN": "America/New_York", "CENTRAL": "America/Chicago", "MOUNTAIN": "America/Denver", "PACIFIC": "America/Los_Angeles",
	"AET": "Australia/Sydney", "NZT": "Pacific/Auckland", "LONDON": "Europe/London",
}

// zoneOf returns the zone of an abbreviation in capital letters, nil for none.
func zoneOf(word string) *time.Location {
	if strings.ToUpper(word) != word && len(word) < 6 {
		return nil
	}
	up := strings.ToUpper(word)
	if q, ok := zoneNames[up]; ok {
		return time.FixedZone("", q*15*60)
	}
	if name, ok := generalZones[up]; ok {
		if loc, err := time.LoadLocation(name); err == nil {
			return loc
		}
	}
	return nil
}
