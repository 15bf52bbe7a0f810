"""How much memory and time models of true size take, stage by stage."""
