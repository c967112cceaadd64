// Command probe is what the pods of hack/cluster-selftest run:
//
//	probe serve ADDRESS DIRECTORY   GET / says who asks whom, /file keeps text in DIRECTORY (PUT, GET),
//	                                /resolve?name= and /get?url= ask on the pod's behalf
//	probe get URL                   prints the body
//	probe resolve NAME              prints the addresses
//	probe sysctl NAME               prints a kernel setting
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch {
	case len(arguments) == 3 && arguments[0] == "serve":
		return serve(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "get":
		answer, err := fetch(ctx, http.MethodGet, arguments[1], "")
		fmt.Print(string(answer))
		return err
	case len(arguments) == 2 && arguments[0] == "resolve":
		addresses, err := net.DefaultResolver.LookupHost(ctx, arguments[1])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case len(arguments) == 2 && arguments[0] == "sysctl":
		value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(arguments[1], ".", "/")))
		fmt.Print(string(value))
		return err
	}
	return fmt.Errorf("unknown arguments %q", arguments)
}

// fetch uses a connection of its own, so that each call is balanced anew.
func fetch(ctx context.Context, method, url, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, err
}

func serve(address, directory string) error {
	file := filepath.Join(directory, "file")
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		name, _ := os.Hostname()
		fmt.Fprintf(w, "client=%s server=%s\n", client, name)
	})
	http.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(text)
	})
	http.HandleFunc("PUT /file", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("GET /resolve", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.URL.Query().Get("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, strings.Join(addresses, " "))
	})
	http.HandleFunc("GET /get", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		body, err := fetch(ctx, http.MethodGet, r.URL.Query().Get("url"), "")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(body)
	})
	fmt.Println("probe: serving on", address)
	return http.ListenAndServe(address, nil)
}
