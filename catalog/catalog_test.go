package catalog_test

import (
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
)

func TestConformance(t *testing.T) { catalogtest.Run(t, catalogtest.Config) }
