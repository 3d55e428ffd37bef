// Package deploy checks the container files without a container engine: docker-compose.yml with
// the Compose project's own loader and schema, deploy/Dockerfile with BuildKit's parser and linter.
// It is a module of its own because of what these two bring along.
package deploy
