"""What makes a reply a refusal: the wording of refusals and the rule that finds it."""
