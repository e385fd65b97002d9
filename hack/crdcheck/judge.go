package main

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/registry/rest"
)

// strategy is the part of the API server's registry that validates a custom resource.
type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// judge validates an object with the functions of the API server, in its order.
type judge struct {
	structural *structuralschema.Structural
	strategy   strategy
}

func newJudge(
	versioned *apiextensionsv1.CustomResourceDefinition, definition *apiextensions.CustomResourceDefinition,
) (*judge, error) {
	version := versioned.Spec.Versions[0].Name
	openAPI, err := apiextensions.GetSchemaForVersion(definition, version)
	if err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(openAPI.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(openAPI.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	kind := schema.GroupVersionKind{Group: definition.Spec.Group, Version: version, Kind: definition.Spec.Names.Kind}
	made := customresource.NewStrategy(
		nil, true, kind, validator, nil, structural, &apiextensions.CustomResourceSubresourceStatus{}, nil, nil,
	)
	return &judge{structural: structural, strategy: made}, nil
}

func (j *judge) faults(ctx context.Context, object, old []byte) ([]fault, error) {
	current, unknown, err := j.admitted(object)
	if err != nil {
		return nil, err
	}
	faults := make([]fault, 0)
	for _, path := range unknown {
		faults = append(faults, fault{Field: path, Type: "FieldValueUnknown", Message: "unknown field"})
	}
	if len(old) == 0 || string(old) == "null" {
		j.strategy.PrepareForCreate(ctx, current)
		return append(faults, faultsOf(j.strategy.Validate(ctx, current))...), nil
	}
	before, _, err := j.admitted(old)
	if err != nil {
		return nil, err
	}
	before.SetResourceVersion("1")
	current.SetResourceVersion("1")
	j.strategy.PrepareForUpdate(ctx, current, before)
	return append(faults, faultsOf(j.strategy.ValidateUpdate(ctx, current, before))...), nil
}

// admitted decodes an object as the API server does with strict field validation: unknown fields are named, nulls
// dropped and defaults filled in.
func (j *judge) admitted(text []byte) (*unstructured.Unstructured, []string, error) {
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, &object.Object); err != nil {
		return nil, nil, err
	}
	unknown := pruning.PruneWithOptions(
		object.Object, j.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true},
	)
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, j.structural)
	defaulting.Default(object.Object, j.structural)
	if object.GetNamespace() == "" {
		object.SetNamespace("default") // the API server takes it from the request's path
	}
	return object, unknown, nil
}
