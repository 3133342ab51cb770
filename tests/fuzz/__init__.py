"""The core against made-up input: headers, deliveries and answers of a broker, bodies of protocol 1."""
