"""Templates of letters with invoices; no entry is on two sides."""

from __future__ import annotations

from benchmarks.quality.sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, lines_of

# After a letterhead: a number, an amount and a due date, in any order.
NUMBERS: Sided = {
    TRAIN: lines_of("""
        Invoice {number}
        invoice no. {number}
        bill {number}
        our ref {number}
        your bill is numbered {number}
        (no. {number})
        No: {number}
        re {number}
        we wrote you invoice {number}
        Billing number: {number}
        {number} is the number of the invoice
        quote {number} when you pay
        {number}
        INVOICE {number}
        Invoice #{number}
        INV {number}
        Bill no {number}
        number {number}
        Invoice: {number}
        Nr. {number}
        Your invoice ({number})
        please refer to {number}
        our invoice number is {number}
        here comes invoice {number}
        you receive bill {number}
        reference: {number}
        Reminder for invoice {number}
        Concerning {number}
        copy of {number}
        id {number}
        Bill {number} for services
        We attach invoice {number}
        the bill with the number {number}
        Final invoice {number}
        Subject: {number}
        we filed it under {number}
        Tax invoice {number}
        Credit account, bill {number}
        {number} (please quote)
        printed as {number}
        booking number {number}
        """),
    DEVELOPMENT: lines_of("""
        Find enclosed invoice {number}
        this letter concerns bill {number}
        Number of your invoice: {number}
        invoice with the no. {number}
        booked as invoice {number}
        bill of ours: {number}
        the letter {number} is a bill
        {number}, invoice for your files
        payment reference {number}
        """),
    HELD_OUT: lines_of("""
        Enclosed is our statement {number}
        document number {number}
        billed under {number}
        The enclosed papers carry number {number}
        Ref.: {number}
        File this one as {number}
        always mention {number} with your transfer
        Statement {number}
        This is invoice {number} for the goods you received
        Voucher {number}
        """),
}
AMOUNTS: Sided = {
    TRAIN: lines_of("""
        amount due {amount} EUR
        total: {amount}
        Amount: USD {amount}
        the sum is {amount} GBP
        we charge {amount} EUR
        you owe us {amount}
        {amount} EUR
        transfer {amount} CHF
        open amount {amount} USD
        it comes to {amount}
        please pay {amount} EUR
        a total of {amount} GBP
        {amount} to pay
        {amount}
        EUR {amount}
        Total {amount} EUR
        TOTAL: {amount} USD
        sum {amount}
        Sum total {amount} CHF
        price {amount}
        to pay: {amount}
        Please transfer the amount of {amount}
        the price is {amount} GBP
        we get {amount} USD from you
        Value {amount}
        Amount payable: {amount} EUR
        {amount} in all
        costs of {amount} EUR
        Balance {amount}
        it adds up to {amount} CHF
        {amount} GBP including tax
        gross {amount}
        You still have to pay {amount}
        The total of this bill is {amount}
        Subtotal and tax: {amount} USD
        charges {amount}
        an amount of {amount} USD is open
        for a price of {amount}
        {amount} EUR are due
        invoiced: {amount}
        rent {amount} EUR
        """),
    DEVELOPMENT: lines_of("""
        the open sum: {amount} SEK
        which makes {amount} NOK to transfer
        Total payable {amount}
        amount of {amount} DKK
        we ask you for {amount} CAD
        costs {amount} SGD
        of {amount} you have paid nothing
        {amount} is what we ask
        that will be {amount} JPY
        """),
    HELD_OUT: lines_of("""
        balance now {amount} PLN
        the grand total amounts to {amount}
        kindly remit {amount} HUF
        Net payable: AUD {amount}
        {amount} CZK remain unpaid
        cost of the works {amount}
        all in all {amount} NZD
        sum outstanding {amount} TRY
        your share is {amount}
        fee {amount} BRL
        """),
}
DUES: Sided = {
    TRAIN: lines_of("""
        due {due}
        pay by {due}
        Due date: {due}
        payable until {due}
        before {due}
        deadline {due}
        term ends {due}
        it falls due on {due}
        not later than {due}
        {due} is when we expect it
        till {due} please
        within the term, {due}
        payment date {due}
        {due}
        Due: {due}
        DUE DATE {due}
        due on {due}
        pay until {due}
        payment until {due}
        please pay by {due}
        Please pay not after {due}
        date due: {due}
        payable by {due}
        within the deadline of {due}
        Deadline: {due}
        we expect your money on {due}
        latest on {due}
        must be paid on {due}
        your bank should send it before {due}
        to be transferred until {due}
        you have time until {due}
        target date {due}
        net, due {due}
        open until {due}
        the due day is {due}
        the amount is due {due}
        by {due}
        Pay on or before {due}
        Please settle by {due}
        valid until {due}
        expires {due}
        """),
    DEVELOPMENT: lines_of("""
        to be paid until {due}
        last payment day {due}
        our deadline is {due}
        payment due at {due}
        see that it is paid by {due}
        we wait until {due}
        the term: {due}
        {due} is the last day
        interest is charged from {due} on
        """),
    HELD_OUT: lines_of("""
        settlement expected on {due}
        Payment wanted {due} at the latest
        last date for transfers: {due}
        your money should reach us by {due}
        reminder follows after {due}
        collection day {due}
        Terms: {due}
        we debit your card on {due}
        {due} closes the payment window
        credit granted up to {due}
        """),
}
SEPARATORS = (". ", ", ", "; ", "\n")  # Punctuation is no template: all sides share it.
