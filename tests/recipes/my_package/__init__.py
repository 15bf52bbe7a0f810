"""What the recipes of CONTRIBUTING.md make: a judge, a method and a router family, as a user would write them."""
