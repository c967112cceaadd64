module posthorn.dev/hack/probe

go 1.24
