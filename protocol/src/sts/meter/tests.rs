//! Every result a meter can give, as a dialogue: this token, that answer.

use super::super::*;
use super::*;
use std::vec::Vec;

const MINUTE_MS: u64 = 60_000;

fn attributes() -> KeyAttributes {
    KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).unwrap(),
        tariff_index: TariffIndex::try_from(1).unwrap(),
        key_revision: KeyRevision::try_from(1).unwrap(),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    }
}

fn vending_key(algorithm: EncryptionAlgorithm) -> VendingKey {
    match algorithm {
        EncryptionAlgorithm::Ea07 => VendingKey::from_bytes(&[0xab; 8]).unwrap(),
        EncryptionAlgorithm::Ea11 => VendingKey::from_bytes(&[0x5e; 20]).unwrap(),
    }
}

/// A meter and its vendor.
struct Bench {
    state: MeterTokenState,
    abilities: Abilities<'static>,
    now_ms: u64,
}

impl Bench {
    fn new(algorithm: EncryptionAlgorithm) -> Self {
        let pan = MeterPan::from_drn(&Drn::from_parts(1, 42).unwrap());
        let key = derive(&vending_key(algorithm), algorithm, &pan, &attributes()).unwrap();
        let manufactured = Tid::from_minutes(1_000_000);
        Self {
            state: MeterTokenState::new(pan, key, attributes().into(), manufactured),
            abilities: Abilities::electricity(1, 10_000, Some(20_000)),
            now_ms: 0,
        }
    }

    fn key_of(&self, attributes: &KeyAttributes) -> DecoderKey {
        let algorithm = self.state.key.algorithm();
        derive(&vending_key(algorithm), algorithm, &self.state.pan, attributes).unwrap()
    }

    fn digits(&self, token: &Token) -> TokenDigits {
        token.encode(&TokenCipher::new(&self.state.key, &SAMPLE)).digits()
    }

    /// Enters digits, and does what the firmware does: store, apply.
    fn enter(&mut self, digits: &[u8]) -> TokenResult {
        let verdict = evaluate(&self.state, &self.abilities, digits, self.now_ms);
        assert_eq!(verdict.effect.is_some(), verdict.result.is_taken());
        if let Some(effect) = &verdict.effect {
            self.state.apply(effect);
        }
        verdict.result
    }

    fn enter_token(&mut self, token: &Token) -> TokenResult {
        let digits = self.digits(token);
        self.enter(digits.as_bytes())
    }

    fn change_set(
        &self,
        new: &KeyAttributes,
        expiry: u8,
        rollover: bool,
        length: SetLength,
    ) -> Vec<TokenDigits> {
        key_change_set(&self.key_of(new), new, expiry, rollover, length)
            .iter()
            .map(|token| self.digits(token))
            .collect()
    }
}

fn credit(tid: u32, units: u32) -> Token {
    Token::Credit {
        service: Service::Electricity,
        amount: AmountCode::round_up(units).unwrap(),
        rnd: Rnd::new(7),
        tid: Tid::from_minutes(tid).unwrap(),
    }
}

fn manage(tid: u32, action: Management) -> Token {
    Token::Management { action, rnd: Rnd::new(0), tid: Tid::from_minutes(tid).unwrap() }
}

const BOTH: [EncryptionAlgorithm; 2] = [EncryptionAlgorithm::Ea07, EncryptionAlgorithm::Ea11];

#[test]
fn every_result_is_reached_by_the_token_it_is_for() {
    for algorithm in BOTH {
        let mut seen = Vec::new();
        let mut bench = Bench::new(algorithm);
        let mut expect = |bench: &mut Bench, token: &Token, result: TokenResult| {
            assert_eq!(bench.enter_token(token), result);
            seen.push(result);
        };
        expect(&mut bench, &credit(2_000_000, 100), TokenResult::Accept);
        expect(&mut bench, &credit(2_000_000, 100), TokenResult::Used);
        expect(&mut bench, &credit(999_999, 100), TokenResult::Old);
        expect(&mut bench, &credit(2_000_001, 10_010), TokenResult::Overflow);
        expect(
            &mut bench,
            &manage(2_000_002, Management::MaximumPowerLimit(AmountCode::round_up(20_004).unwrap())),
            TokenResult::Range,
        );
        expect(&mut bench, &manage(2_000_003, Management::ClearCredit(8)), TokenResult::Range);
        expect(&mut bench, &manage(2_000_003, Management::ClearCredit(1)), TokenResult::Function);
        expect(&mut bench, &manage(2_000_003, Management::TariffRate(1)), TokenResult::Function);
        let test = Token::Test(TestToken::TwoDigit { control: 1, manufacturer: 2 });
        expect(&mut bench, &test, TokenResult::MfrCode);
        let section = KeySection::First {
            expiry_high: 15,
            key_revision: KeyRevision::try_from(2).unwrap(),
            rollover: false,
            third_follows: false,
            key_type: KeyType::Ditk,
            key: KeyWord::new(0),
        };
        expect(&mut bench, &Token::KeySection(section), TokenResult::KeyType);
        bench.state.attributes.expiry = 30;
        expect(&mut bench, &credit(31 << 16, 1), TokenResult::KeyExpired);
        expect(&mut bench, &credit((31 << 16) - 1, 1), TokenResult::Accept);
        bench.state.attributes.key_type = KeyType::Ddtk;
        expect(&mut bench, &credit(2_000_010, 1), TokenResult::Ddtk);
        expect(&mut bench, &manage(2_000_010, Management::ClearTamper), TokenResult::Accept);
        bench.state.attributes.key_type = KeyType::Dutk;
        bench.abilities.ready = false;
        expect(&mut bench, &credit(2_000_011, 1), TokenResult::NotReady);
        bench.abilities.ready = true;

        for text in ["", "1234", "1234567890123456789x", "99999999999999999999", "73786976294838206464"] {
            assert_eq!(bench.enter(text.as_bytes()), TokenResult::Format, "{text}");
        }
        seen.push(TokenResult::Format);
        let class_3 = TokenNumber::place(3, 0x1234_5678_9ABC_DEF0).digits();
        assert_eq!(bench.enter(class_3.as_bytes()), TokenResult::Format);
        // The neighbour's token: another key, so the checksum does not fit.
        let mut neighbour = Bench::new(algorithm);
        neighbour.state.key = neighbour
            .key_of(&KeyAttributes { tariff_index: TariffIndex::try_from(2).unwrap(), ..attributes() });
        let digits = neighbour.digits(&credit(2_000_020, 1));
        assert_eq!(bench.enter(digits.as_bytes()), TokenResult::Crc);
        seen.push(TokenResult::Crc);

        let new = KeyAttributes { key_revision: KeyRevision::try_from(2).unwrap(), ..attributes() };
        let set = bench.change_set(&new, 255, false, SetLength::Two);
        assert_eq!(bench.enter(set[0].as_bytes()), TokenResult::FirstKct);
        seen.push(TokenResult::FirstKct);
        bench.state.pending = PendingKeyChange::default();
        assert_eq!(bench.enter(set[1].as_bytes()), TokenResult::SecondKct);
        seen.push(TokenResult::SecondKct);

        let mut keypad = KeypadLockout::default();
        let mut typed = |bench: &Bench, digits: &[u8]| {
            evaluate_typed(&mut keypad, &bench.state, &bench.abilities, digits, 0).result
        };
        let good = bench.digits(&credit(2_000_030, 1));
        for _ in 0..3 {
            assert_eq!(typed(&bench, digits.as_bytes()), TokenResult::Crc);
        }
        assert_eq!(typed(&bench, good.as_bytes()), TokenResult::Lockout);
        seen.push(TokenResult::Lockout);
        assert_eq!(bench.enter(good.as_bytes()), TokenResult::Accept, "pushed tokens know no lock-out");
        for result in TokenResult::ALL {
            assert!(seen.contains(&result), "{result:?} was never reached");
            assert_eq!(TokenResult::from_code(result.code()), Some(result));
            assert!((3..=8).contains(&result.gateway_status()));
        }
        assert_eq!((TokenResult::from_code(0), TokenResult::from_code(17)), (None, None));
    }
}

#[test]
fn reserved_subclasses_are_functions_the_meter_does_not_have() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    let cipher = TokenCipher::new(&bench.state.key, &SAMPLE);
    for (class, subclasses) in [(0, 8..=15u64), (1, 3..=15), (2, 11..=15)] {
        for subclass in subclasses {
            let block = subclass << 60;
            let block = block | u64::from(block_crc(class, block, false));
            let number = TokenNumber::place(class, if class == 1 { block } else { cipher.encrypt(block) });
            assert_eq!(bench.enter(number.digits().as_bytes()), TokenResult::Function, "{class}/{subclass}");
        }
    }
}

#[test]
fn what_is_refused_can_be_entered_again_when_the_reason_is_gone() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    bench.abilities.room[0] = Some(50);
    let token = credit(2_000_000, 100);
    assert_eq!(bench.enter_token(&token), TokenResult::Overflow);
    bench.abilities.room[0] = Some(100);
    assert_eq!(bench.enter_token(&token), TokenResult::Accept);
    assert_eq!(bench.enter_token(&token), TokenResult::Used);
}

#[test]
fn fifty_identifiers_are_remembered_in_any_order_and_nothing_works_twice() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    // A permutation of 0..200: 77 and 200 have no common factor.
    let order: Vec<u32> = (0..200u32).map(|i| 2_000_000 + i * 77 % 200).collect();
    let mut accepted = Vec::new();
    for &tid in &order {
        if bench.enter_token(&credit(tid, 1)) == TokenResult::Accept {
            accepted.push(tid);
        }
        for &earlier in &accepted {
            let again = bench.enter_token(&credit(earlier, 1));
            assert!(matches!(again, TokenResult::Used | TokenResult::Old), "{earlier} worked twice");
        }
    }
    assert!(accepted.len() >= 50);
    // In order, every one is accepted, however many there are.
    for tid in 2_000_200..2_000_400 {
        assert_eq!(bench.enter_token(&credit(tid, 1)), TokenResult::Accept);
    }
    assert_eq!(bench.state.tids.len(), TID_STORE_DEPTH);
    assert_eq!(bench.state.tids.lowest_accepted().map(Tid::minutes), Some(2_000_350));
    assert_eq!(bench.state.tids.newest().map(Tid::minutes), Some(2_000_399));
}

#[test]
fn an_identifier_that_was_pushed_out_stays_refused() {
    let mut store = TidStore::<2>::new(None);
    let tid = |m| Tid::from_minutes(m).unwrap();
    for m in [10, 30, 20] {
        assert_eq!(store.judge(tid(m)), TidJudgement::New);
        store.remember(tid(m));
    }
    assert_eq!(store.judge(tid(10)), TidJudgement::Old);
    assert_eq!(store.judge(tid(15)), TidJudgement::Old);
    assert_eq!(store.judge(tid(25)), TidJudgement::New);
    store.clear();
    assert!(store.is_empty());
    assert_eq!(store.judge(tid(10)), TidJudgement::New);
}

/// All orders of a set.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return [Vec::new()].into();
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for place in 0..count {
            let mut order = shorter.clone();
            order.insert(place, count - 1);
            all.push(order);
        }
    }
    all
}

#[test]
fn a_key_change_works_in_every_order_and_changes_nothing_before_the_last_token() {
    let new = KeyAttributes {
        supply_group: SupplyGroup::try_from(654_321).unwrap(),
        tariff_index: TariffIndex::try_from(7).unwrap(),
        key_revision: KeyRevision::try_from(2).unwrap(),
        ..attributes()
    };
    for (algorithm, length, count) in [
        (EncryptionAlgorithm::Ea07, SetLength::Two, 2),
        (EncryptionAlgorithm::Ea07, SetLength::Three, 3),
        (EncryptionAlgorithm::Ea11, SetLength::Two, 4),
    ] {
        for order in orders(count) {
            let mut bench = Bench::new(algorithm);
            assert_eq!(bench.enter_token(&credit(2_000_000, 1)), TokenResult::Accept);
            let used = bench.digits(&credit(2_000_000, 1));
            let set = bench.change_set(&new, 0x9A, false, length);
            assert_eq!(set.len(), count);
            let before = bench.state.clone();
            for (entered, &i) in order.iter().enumerate() {
                assert_eq!((&bench.state.key, &bench.state.attributes), (&before.key, &before.attributes));
                let result = bench.enter(set[i].as_bytes());
                let last = entered + 1 == count;
                assert_eq!(result == TokenResult::Accept, last, "{order:?}");
            }
            assert_eq!(bench.state.key, bench.key_of(&new));
            let known = bench.state.attributes;
            assert_eq!(
                (known.tariff_index, known.key_revision, known.expiry),
                (new.tariff_index, new.key_revision, 0x9A)
            );
            assert_eq!(known.supply_group, (count > 2).then_some(new.supply_group));
            // RO = 0: identifiers are still remembered, so the old ones stay used under the new key.
            assert_eq!(bench.enter_token(&credit(2_000_000, 1)), TokenResult::Used);
            assert_eq!(bench.enter(used.as_bytes()), TokenResult::Crc, "old tokens are for the old key");
        }
    }
}

#[test]
fn a_rollover_forgets_identifiers_and_moves_the_base_date() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    assert_eq!(bench.enter_token(&credit(16_000_000, 1)), TokenResult::Accept);
    let new = KeyAttributes { base_date: BaseDate::Year2035, ..attributes() };
    for digits in bench.change_set(&new, 255, true, SetLength::Two) {
        assert!(bench.enter(digits.as_bytes()).is_taken());
    }
    assert_eq!(bench.state.attributes.base_date, BaseDate::Year2035);
    assert_eq!(bench.enter_token(&credit(5, 1)), TokenResult::Accept, "small identifiers begin again");
}

#[test]
fn an_incomplete_key_change_is_forgotten_after_ten_minutes() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    let new = KeyAttributes { tariff_index: TariffIndex::try_from(9).unwrap(), ..attributes() };
    let set = bench.change_set(&new, 255, false, SetLength::Two);
    for digits in &set[..3] {
        assert!(bench.enter(digits.as_bytes()).is_taken());
    }
    assert_eq!(bench.state.pending.held(bench.now_ms), 3);
    bench.now_ms = 10 * MINUTE_MS;
    assert_eq!(bench.state.pending.held(bench.now_ms), 0);
    assert_eq!(bench.enter(set[3].as_bytes()), TokenResult::SecondKct, "the first three are gone");
    bench.now_ms += 10 * MINUTE_MS - 1;
    for (i, digits) in set[..3].iter().enumerate() {
        assert_eq!(bench.enter(digits.as_bytes()) == TokenResult::Accept, i == 2);
    }
}

#[test]
fn key_changes_work_under_an_expired_key() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea07);
    bench.state.attributes.expiry = 0;
    assert_eq!(bench.enter_token(&credit(2_000_000, 1)), TokenResult::KeyExpired);
    let new = KeyAttributes { key_revision: KeyRevision::try_from(3).unwrap(), ..attributes() };
    for digits in bench.change_set(&new, 255, false, SetLength::Two) {
        assert!(bench.enter(digits.as_bytes()).is_taken());
    }
    assert_eq!(bench.enter_token(&credit(2_000_000, 1)), TokenResult::Accept);
}

#[test]
fn a_supply_group_that_is_no_number_is_out_of_range() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    let new = KeyAttributes { tariff_index: TariffIndex::try_from(9).unwrap(), ..attributes() };
    let set = bench.change_set(&new, 255, false, SetLength::Two);
    for digits in &set[..3] {
        assert!(bench.enter(digits.as_bytes()).is_taken());
    }
    let fourth = Token::KeySection(KeySection::Fourth { group_high: 0xFFF, key: KeyWord::new(0) });
    assert_eq!(bench.enter_token(&fourth), TokenResult::Range);
    assert_eq!(bench.enter(set[3].as_bytes()), TokenResult::Accept, "the right one still completes the set");
}

#[test]
fn effects_say_what_the_ledger_has_to_do() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    bench.abilities.room = [Some(1 << 80); 8];
    bench.abilities.unbalance_limit_max_w = Some(20_000_000);
    bench.abilities.power_limit_max_w = Some(20_000_000);
    bench.abilities.tariff_rate = true;
    bench.abilities.water_factor = true;
    bench.abilities.extended = true;
    let tid = Tid::from_minutes(2_000_000).unwrap();
    let limit = AmountCode::round_up(5_000).unwrap();
    let money = CurrencyCode::round_for_customer(-100_000).unwrap();
    let test = TestToken::ExtendedRead { control: 0xF_C000_0000, manufacturer: 0 };
    for (token, effect) in [
        (credit(2_000_000, 256), Effect::Credit { service: Service::Electricity, units: 256, tid }),
        (
            Token::CurrencyCredit { service: Service::Water, amount: money, tid },
            Effect::CurrencyCredit { service: Service::Water, amount: -99_994, tid },
        ),
        (
            manage(2_000_000, Management::MaximumPowerLimit(limit)),
            Effect::MaximumPowerLimit { watts: 5_000, tid },
        ),
        (
            manage(2_000_000, Management::PhaseUnbalanceLimit(limit)),
            Effect::PhaseUnbalanceLimit { watts: 5_000, tid },
        ),
        (
            manage(2_000_000, Management::ClearCredit(0xFFFF)),
            Effect::ClearCredit { register: CreditRegister::All, tid },
        ),
        (
            manage(2_000_000, Management::ClearCredit(4)),
            Effect::ClearCredit { register: CreditRegister::Currency(Service::Electricity), tid },
        ),
        (manage(2_000_000, Management::ClearTamper), Effect::ClearTamper { tid }),
        (manage(2_000_000, Management::TariffRate(3)), Effect::TariffRate { rate: 3, tid }),
        (manage(2_000_000, Management::WaterMeterFactor(3)), Effect::WaterMeterFactor { factor: 3, tid }),
        (
            manage(2_000_000, Management::Extended { index: 63, value: 123 }),
            Effect::Extended { index: 63, value: 123, tid },
        ),
        (Token::Test(test), Effect::Test(test)),
    ] {
        let verdict = evaluate(&bench.state, &bench.abilities, bench.digits(&token).as_bytes(), 0);
        assert_eq!((verdict.result, verdict.effect.as_ref()), (TokenResult::Accept, Some(&effect)));
        assert_eq!(verdict.kind, Some((token.class(), token.subclass())));
        // The effect goes through the journal unchanged.
        let mut record = [0u8; 96];
        let written = postcard::to_slice(&effect, &mut record).unwrap();
        assert_eq!(postcard::from_bytes::<Effect>(written).unwrap(), effect);
    }
}

#[test]
fn replaying_the_journal_gives_the_state_back() {
    let mut bench = Bench::new(EncryptionAlgorithm::Ea11);
    let factory = bench.state.clone();
    let mut journal: Vec<Vec<u8>> = Vec::new();
    let new = KeyAttributes { tariff_index: TariffIndex::try_from(2).unwrap(), ..attributes() };
    let mut entered: Vec<TokenDigits> = (0..60).map(|i| bench.digits(&credit(2_000_000 + i, 1))).collect();
    entered.extend(bench.change_set(&new, 200, false, SetLength::Two));
    for digits in entered {
        let verdict = evaluate(&bench.state, &bench.abilities, digits.as_bytes(), bench.now_ms);
        let effect = verdict.effect.unwrap();
        let mut record = [0u8; 96];
        journal.push(postcard::to_slice(&effect, &mut record).unwrap().to_vec());
        bench.state.apply(&effect);
    }
    let mut replayed = factory;
    for record in &journal {
        replayed.apply(&postcard::from_bytes(record).unwrap());
    }
    assert_eq!(replayed, bench.state);
    let mut whole = [0u8; 512];
    let written = postcard::to_slice(&bench.state, &mut whole).unwrap();
    assert_eq!(postcard::from_bytes::<MeterTokenState>(written).unwrap(), bench.state);
}

#[test]
fn the_common_scheme_issues_judges_and_applies() {
    use crate::scheme::TokenScheme;
    let bench = Bench::new(EncryptionAlgorithm::Ea11);
    let mut vendor = TokenCipher::new(&bench.state.key, &SAMPLE);
    let mut meter = StsMeter { state: bench.state, abilities: bench.abilities };
    let Ok(digits) = Sts::issue(&mut vendor, &credit(2_000_000, 7));
    let effect = Sts::judge(&meter, digits.as_ref(), 0).unwrap();
    Sts::apply(&mut meter, &effect);
    assert_eq!(Sts::judge(&meter, digits.as_ref(), 0), Err(TokenResult::Used));
}
