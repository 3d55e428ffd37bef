package main

func coldRows(*bench) []row { return nil }
