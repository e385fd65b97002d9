// crdcheck validates a CustomResourceDefinition, and objects of it, with Kubernetes' own code and without an API server.
//
//	crdcheck crd FILE       validates the definition itself: structure, bounds, CEL types and CEL cost
//	crdcheck objects FILE   reads objects {"object": ..., "old": ...} from stdin ("old" is optional and makes it an update)
//	                        and writes one line for each: the JSON list of the faults that the API server would report
//
// The exit status is 1 if the definition is refused; faults of an object are a result, not a failure.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// fault is one validation error of a definition or an object.
type fault struct {
	Field   string `json:"field"`
	Type    string `json:"type"`
	Message string `json:"message"`
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crdcheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: crdcheck crd|objects FILE")
	}
	versioned, internal, err := readDefinition(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "crd":
		return checkDefinition(ctx, internal, out)
	case "objects":
		return checkObjects(ctx, versioned, internal, in, out)
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

// readDefinition reads a definition strictly and sets defaults as the API server does.
func readDefinition(path string) (*apiextensionsv1.CustomResourceDefinition, *apiextensions.CustomResourceDefinition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	versioned := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, versioned); err != nil {
		return nil, nil, err
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(versioned)
	versioned.Status.StoredVersions = []string{versioned.Spec.Versions[0].Name}
	internal := &apiextensions.CustomResourceDefinition{}
	if err := scheme.Convert(versioned, internal, nil); err != nil {
		return nil, nil, err
	}
	return versioned, internal, nil
}

func checkDefinition(ctx context.Context, definition *apiextensions.CustomResourceDefinition, out io.Writer) error {
	faults := faultsOf(crdvalidation.ValidateCustomResourceDefinition(ctx, definition))
	if err := json.NewEncoder(out).Encode(faults); err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d faults", len(faults))
	}
	return nil
}

func checkObjects(
	ctx context.Context, versioned *apiextensionsv1.CustomResourceDefinition,
	definition *apiextensions.CustomResourceDefinition, in io.Reader, out io.Writer,
) error {
	judge, err := newJudge(versioned, definition)
	if err != nil {
		return err
	}
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var question struct {
			Object json.RawMessage `json:"object"`
			Old    json.RawMessage `json:"old"`
		}
		if err := lines.Decode(&question); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		faults, err := judge.faults(ctx, question.Object, question.Old)
		if err != nil {
			return err
		}
		if err := answers.Encode(faults); err != nil {
			return err
		}
	}
}

func faultsOf(list field.ErrorList) []fault {
	faults := make([]fault, 0, len(list))
	for _, item := range list {
		message := item.Detail
		if message == "" {
			message = item.ErrorBody()
		}
		faults = append(faults, fault{Field: item.Field, Type: string(item.Type), Message: message})
	}
	return faults
}
