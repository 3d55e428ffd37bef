package main

func fourRows(*bench) []row { return nil }
