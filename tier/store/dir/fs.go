package dir

import (
	"io"
	"io/fs"
	"os"
)

// Files is what the store asks of a file system. Package os is the default.
type Files interface {
	// OpenFile opens like os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Link gives the file old the second name new; fs.ErrExist when new exists.
	Link(old, new string) error
	Remove(name string) error
	Mkdir(name string, perm fs.FileMode) error
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
	// ReadDir lists a folder sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
	Stat() (fs.FileInfo, error)
}

type osFiles struct{}

func (osFiles) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return os.OpenFile(name, flag, perm)
}
func (osFiles) Link(old, new string) error                 { return os.Link(old, new) }
func (osFiles) Remove(name string) error                   { return os.Remove(name) }
func (osFiles) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osFiles) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

func (osFiles) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
