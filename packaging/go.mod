module carbond/packaging

go 1.26.0
