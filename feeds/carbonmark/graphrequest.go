package carbonmark

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// MaxFirst is the largest page that a subgraph answers.
const MaxFirst = 1000

// GraphClient builds the calls to a subgraph. The key goes into a header, never
// into the address.
type GraphClient struct {
	Base string // "" is DefaultGraphBase
	ID   string // "" is DefaultGraph
	Key  string
}

// String prints the address only, never the key.
func (c GraphClient) String() string { return "subgraph client of " + c.url() }

// GoString is String.
func (c GraphClient) GoString() string { return c.String() }

const metaQuery = ` _meta { block { number timestamp } deployment hasIndexingErrors }`

const creditFields = ` id vintage currentSupply bridged retired bridgeProtocol`

// Projects builds the call for the page of projects with their credits after
// the id last, for ParseGraphProjects.
func (c GraphClient) Projects(last string, first int) (Request, error) {
	return c.query(`query($first: Int!, $last: String!) { carbonProjects(first: $first, orderBy: id, where: {id_gt: $last}) {`+
		` id registry projectID name country category carbonCredits(first: `+strconv.Itoa(maxNested)+`) {`+creditFields+` } }`+metaQuery+` }`, last, first)
}

func (c GraphClient) query(query, last string, first int) (Request, error) {
	var body struct {
		Query string `json:"query"`
		Vars  struct {
			First int    `json:"first"`
			Last  string `json:"last"`
		} `json:"variables"`
	}
	body.Query, body.Vars.First, body.Vars.Last = query, min(max(first, 1), MaxFirst), last
	b, err := json.Marshal(body)
	if err != nil {
		return Request{}, fmt.Errorf("encode subgraph query: %w", err)
	}
	h := map[string]string{"Accept": "application/json", "Content-Type": "application/json"}
	if c.Key != "" {
		h["Authorization"] = "Bearer " + c.Key
	}
	return Request{Method: http.MethodPost, URL: c.url(), Body: b, Header: h}, nil
}

func (c GraphClient) url() string {
	base, id := c.Base, c.ID
	if base == "" {
		base = DefaultGraphBase
	}
	if id == "" {
		id = DefaultGraph
	}
	return strings.TrimRight(base, "/") + "/" + url.PathEscape(id)
}
