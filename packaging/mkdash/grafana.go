package main

// object is a JSON object; Go writes its keys in order, so that the result is
// the same each time.
type object = map[string]any

// uid never changes, so that links and provisioning keep finding the dashboard.
const uid = "carbond-overview"

// Grafana's grid is 24 wide.
const (
	gridWidth  = 24
	panelLines = 8
	statLines  = 4
)

// selector restricts every query to the chosen targets.
const selector = `job=~"$job", instance=~"$instance"`

// source is the chosen Prometheus.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// dashboard is the whole document.
func dashboard() object {
	return object{
		"uid": uid, "title": "carbond", "tags": []string{"carbond"},
		"description":  "carbond: what it serves, from where it comes, how far behind it is, and what it costs.",
		"editable":     true,
		"graphTooltip": 1, "refresh": "30s", "schemaVersion": 38, "version": 1,
		"time":       object{"from": "now-3h", "to": "now"},
		"timezone":   "browser",
		"templating": object{"list": variables()},
		"panels":     place(sections()),
	}
}

// variables are the data source, the job and its instances.
func variables() []object {
	label := func(name, query string) object {
		return object{
			"name": name, "label": name, "type": "query", "datasource": source,
			"query": object{"query": query, "refId": name}, "definition": query,
			"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
			"current": object{"selected": true, "text": "All", "value": "$__all"},
		}
	}
	return []object{
		{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}},
		label("job", "label_values(carbond_build_info, job)"),
		label("instance", `label_values(carbond_build_info{job=~"$job"}, instance)`),
	}
}

// place sets panels from left to right, section by section.
func place(list []section) []object {
	var out []object
	id, y := 0, 0
	for _, s := range list {
		id++
		row := object{
			"id": id, "type": "row", "title": s.title, "collapsed": s.collapsed,
			"gridPos": object{"x": 0, "y": y, "w": gridWidth, "h": 1},
		}
		y++
		x, line := 0, 0
		panels := []object{}
		for _, p := range s.panels {
			if x+p.width > gridWidth {
				x, y = 0, y+line
			}
			id++
			line = p.lines()
			panels = append(panels, p.render(id, object{"x": x, "y": y, "w": p.width, "h": line}))
			x += p.width
		}
		y += line
		// A collapsed row holds its panels, an open one has them behind it.
		if row["panels"] = []object{}; s.collapsed {
			row["panels"] = panels
			out = append(out, row)
		} else {
			out = append(append(out, row), panels...)
		}
	}
	return out
}

func (p panel) lines() int {
	if p.kind == "stat" {
		return statLines
	}
	return panelLines
}

// render is one panel in Grafana's words.
func (p panel) render(id int, pos object) object {
	var targets []object
	overrides := []object{}
	for i, q := range p.queries {
		if q.unit != "" {
			overrides = append(overrides, object{
				"matcher":    object{"id": "byFrameRefID", "options": string(rune('A' + i))},
				"properties": []object{{"id": "unit", "value": q.unit}, {"id": "custom.axisPlacement", "value": "right"}},
			})
		}
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "expr": q.expr, "legendFormat": q.legend, "datasource": source,
			"instant": p.kind == "stat", "range": p.kind != "stat",
		})
	}
	defaults := object{"unit": p.unit, "min": p.min}
	if p.min == nil {
		delete(defaults, "min")
	}
	options := object{}
	switch p.kind {
	case "stat":
		options = object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"colorMode":     "background", "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
		}
		defaults["thresholds"] = p.thresholds()
		defaults["color"] = object{"mode": "thresholds"}
		if p.states != nil {
			defaults["mappings"] = []object{{"type": "value", "options": p.states}}
		}
	default:
		options = object{
			"legend":  object{"displayMode": "table", "placement": "bottom", "calcs": []string{"lastNotNull", "max"}, "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
		defaults["custom"] = object{"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": false}
	}
	return object{
		"id": id, "type": p.kind, "title": p.title, "description": p.help, "datasource": source, "gridPos": pos,
		"targets": targets, "options": options,
		"fieldConfig": object{"defaults": defaults, "overrides": overrides},
	}
}

// thresholds turn a number into a colour; the text of a state says it as well,
// because a colour alone does not reach everybody.
func (p panel) thresholds() object {
	steps := []object{{"color": p.colours[0], "value": nil}}
	for i, limit := range p.limits {
		steps = append(steps, object{"color": p.colours[i+1], "value": limit})
	}
	return object{"mode": "absolute", "steps": steps}
}
