package finance

// DefaultTickers returns the tickers that are followed unless the configuration
// lists others: carbon allowance funds first, then clean power, hydrogen,
// vehicles, materials, removals and the exchanges that carbon trades on. The
// caller owns the slice.
func DefaultTickers() []string {
	return []string{
		"KRBN", "KCCA", "GRN", // carbon allowances
		"ICLN", "TAN", "QCLN", "PBW", // clean energy funds
		"NEE", "BEP", "BEPC", "AQN", "CWEN", "ORA", // renewable owners
		"CEG", "VST", "DUK", "SO", // power
		"ENPH", "FSLR", "SEDG", "RUN", "NXT", // solar
		"LIN", "APD", "PLUG", "FCEL", "BE", "CLNE", // hydrogen, gases, fuel cells
		"TSLA", "NIO", "XPEV", "LI", "RIVN", "CHPT", "BLNK", // vehicles and charging
		"ALB", "SQM", "LAC", // lithium
		"WM", "RSG", // landfill gas
		"OXY", "EQNR", // capture and storage
		"ICE", "CME", // exchanges
		"HASI", "GEV", "MSFT", // finance, grid, the largest buyer of removals
	}
}
